"""One event into JSON-RPC bytes: ours, orjson, msgspec and the standard library, on the same values."""

import json

import msgspec
import orjson
import pytest

import pykafkaevt
from pykafkaevt.bench import workload

ROW = workload.event_rows(1, seed=7)[0]
EVENT = workload.as_dict(ROW)
PARAMS = EVENT["params"]
TEMPLATE = pykafkaevt.EventTemplate(workload.EVENT, workload.FIELDS)
BUFFER = bytearray(1024)
encode = msgspec.json.Encoder().encode


def compact(event):
    return json.dumps(event, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "serialize",
    [
        pytest.param(lambda row: TEMPLATE.dumps_into(BUFFER, *row), id="EventTemplate.dumps_into"),
        pytest.param(lambda row: TEMPLATE.dumps(*row), id="EventTemplate.dumps"),
        pytest.param(lambda row: pykafkaevt.dumps(workload.EVENT, PARAMS), id="dumps, ready dict"),
        pytest.param(lambda row: orjson.dumps(EVENT), id="orjson, ready dict"),
        pytest.param(lambda row: orjson.dumps(workload.as_dict(row)), id="orjson, dict per event"),
        pytest.param(lambda row: encode(EVENT), id="msgspec, ready dict"),
        pytest.param(lambda row: encode(workload.as_dict(row)), id="msgspec, dict per event"),
        pytest.param(lambda row: compact(workload.as_dict(row)), id="json, dict per event"),
    ],
)
def test_one_event(benchmark, serialize):
    benchmark.group = "one event of 277 bytes"
    assert benchmark(serialize, ROW) in (277, orjson.dumps(EVENT))
    assert len(orjson.dumps(EVENT)) == 277
