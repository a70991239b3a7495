"""20,000 events into the embedded broker, until each has its delivery report; `side_by_side.py` gives the ratios."""

import pytest
import side_by_side

from pykafkaevt.bench import workload

ROWS = workload.event_rows(20_000, seed=7)
SIDES = {
    "confluent": lambda bootstrap: side_by_side.confluent(bootstrap, ROWS),
    "emit": lambda bootstrap: side_by_side.ours(bootstrap, ROWS, side_by_side.emit),
    "emit_many": lambda bootstrap: side_by_side.ours(bootstrap, ROWS, side_by_side.emit_many),
}


@pytest.mark.parametrize("side", SIDES)
def test_events_into_the_embedded_broker(benchmark, kafka_embedded, side):
    benchmark.group = "20,000 events of 277 bytes, producer made and closed"
    benchmark.pedantic(SIDES[side], args=(kafka_embedded.bootstrap_servers,), rounds=5, warmup_rounds=1)
