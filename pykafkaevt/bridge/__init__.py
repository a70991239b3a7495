"""The bridge: events of SIP systems, by datagram, stream, HEP or file, into Kafka; what `pykafkaevt bridge` runs."""
