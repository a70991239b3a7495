"""Fatal errors of the client that the bridge's events and dead letters share: each event is accounted for."""

from pathlib import Path

from tests.races.bridge_fatal import figures, mistakes, run


def test_every_event_received_is_delivered_once_or_failed_with_the_fatal_error(tmp_path: Path) -> None:
    done = run(5, 3000, 60, tmp_path)
    assert not mistakes(done), figures(done)
    assert done.fatals >= 5, figures(done)
    assert done.bridge.failed_at_last, figures(done)
