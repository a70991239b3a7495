"""One event into JSON-RPC bytes: ours, orjson, msgspec and the standard library, on the same values."""

import json

import events
import msgspec
import orjson
import pytest

import pykafkaevt

ROW = events.rows(1)[0]
EVENT = events.as_dict(ROW)
PARAMS = EVENT["params"]
TEMPLATE = pykafkaevt.EventTemplate(events.METHOD, events.FIELDS)
BUFFER = bytearray(1024)
encode = msgspec.json.Encoder().encode


def compact(event):
    return json.dumps(event, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "serialize",
    [
        pytest.param(lambda row: TEMPLATE.dumps_into(BUFFER, *row), id="EventTemplate.dumps_into"),
        pytest.param(lambda row: TEMPLATE.dumps(*row), id="EventTemplate.dumps"),
        pytest.param(lambda row: pykafkaevt.dumps(events.METHOD, PARAMS), id="dumps, ready dict"),
        pytest.param(lambda row: orjson.dumps(EVENT), id="orjson, ready dict"),
        pytest.param(lambda row: orjson.dumps(events.as_dict(row)), id="orjson, dict per event"),
        pytest.param(lambda row: encode(EVENT), id="msgspec, ready dict"),
        pytest.param(lambda row: encode(events.as_dict(row)), id="msgspec, dict per event"),
        pytest.param(lambda row: compact(events.as_dict(row)), id="json, dict per event"),
    ],
)
def test_one_event(benchmark, serialize):
    benchmark.group = "one event of 277 bytes"
    assert benchmark(serialize, ROW) in (277, orjson.dumps(EVENT))
    assert len(orjson.dumps(EVENT)) == 277
