"""The measuring behind `pykafkaevt bench`: one process per measured run, ours and the peers' alike."""
