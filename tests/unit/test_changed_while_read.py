"""What a call reads is changed by code that runs meanwhile: of a value, of an iterable, of a finalizer.

Run with a case's name it is the program that makes the call: what is wrong here ends a process.
"""

import gc
import json
import os
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

import pykafkaevt
from pykafkaevt import EventInterface, EventTemplate, Producer, dumps
from pykafkaevt.jsonrpc.scan import scan_event
from pykafkaevt.jsonrpc.stream import Splitter
from pykafkaevt.kafka.delivery import batch_of_rows
from pykafkaevt.sip.hep_stream import HepSplitter

SECONDS = 60
TEMPLATE = EventTemplate("E", ["a", "k"])


class Running(dict):
    """A value whose own code runs while it is serialized; the bytes keep orjson from reading it by itself."""

    def __init__(self, code):
        super().__init__(x=b"v")
        self.code = code

    def items(self):
        self.code()
        return super().items()


def emptied(*others):
    """A list that loses its items while its first is serialized."""
    row = []
    row += [Running(row.clear), *others]
    return row


def params(event):
    return json.loads(event)["params"]


def row_of_dumps_many():
    assert params(TEMPLATE.dumps_many([emptied("key")])) == {"a": {"x": "v"}, "k": "key"}


def values_of_dumps():
    assert params(TEMPLATE.dumps(*emptied("key"))) == {"a": {"x": "v"}, "k": "key"}


def row_of_emit_many():
    with Producer("kafka:embedded/t") as producer:
        assert producer.emit_many(TEMPLATE, [emptied("key"), emptied(7)], key_field="k") == 2


def rows_of_emit_many():
    rows = []
    rows += [(1, "key"), (Running(rows.clear), "key"), (2, "key")]
    with Producer("kafka:embedded/t") as producer:
        assert producer.emit_many(TEMPLATE, rows, key_field="k") == 3


def parameters_of_raise_event():
    with EventInterface() as interface:
        interface.publish_event("E", ["a", "k"])
        interface.subscribe_event("E", "kafka:embedded/t")
        assert interface.raise_event("E", emptied("key")) == 1


def parameters_of_dumps():
    assert params(dumps("E", emptied("y", "z"))) == [{"x": "v"}]


def nested_list():
    assert params(dumps("E", [emptied("y", "z")])) == [[{"x": "v"}]]


def named_parameters_of_dumps():
    given = {"a": Running(lambda: given.pop("b")), "b": 1}
    with pytest.raises(RuntimeError, match="changed size"):
        dumps("E", given)


def buffer_of_dumps_into():
    target = bytearray(1000)
    with pytest.raises(BufferError, match="the buffer from offset 0 on 0"):
        TEMPLATE.dumps_into(target, Running(target.clear), 1)


def events_within_events():
    inner = []

    def serialize():
        inner.append(TEMPLATE.dumps(Running(lambda: inner.append(dumps("E", ["inmost"]))), "inner"))

    assert params(TEMPLATE.dumps(Running(serialize), "outer"))["k"] == "outer"
    assert [params(one) for one in inner] == [["inmost"], {"a": {"x": "v"}, "k": "inner"}]


def name_that_is_no_str():
    class Name:
        def encode(self):
            return 1

    for given in ({"key_fields": [Name()]}, {"time_field": Name()}):
        with pytest.raises(TypeError):
            scan_event(b'{"method":"E"}', **given)


def fed_by_a_finalizer(splitter, start, data, expected):
    """Feed data, the collector running meanwhile, whose finalizers feed the splitter too."""

    class Feeding:
        def __init__(self):
            self.cycle = self

        def __del__(self):
            splitter.feed(start + bytes(200_000))

    for _ in range(100):
        Feeding()
    gc.set_threshold(1)
    found = splitter.feed(data)
    gc.set_threshold(700)
    if expected is not None:
        assert found == expected


def hep_splitter():
    packets = [b"HEP3" + struct.pack(">H", 1000) + bytes([n]) * 994 for n in range(50)]
    fed_by_a_finalizer(HepSplitter(65535), b"HEP3\xff\xff", b"".join(packets), [(one, None) for one in packets])


def json_splitter():
    fed_by_a_finalizer(Splitter(1000), b"{", b'{"a":1}\n' * 50 + b"garbage\n" * 50, None)


def values_before_a_bad_one():
    from confluent_kafka import Consumer

    with pykafkaevt.EmbeddedBroker() as broker, Producer(f"kafka:{broker.bootstrap_servers}/t") as producer:
        values = [b"%0100d" % number for number in range(200)]
        with pytest.raises(pykafkaevt.SerializeTypeError):
            producer.publish_many(5 if number == 200 else b"%0100d" % number for number in range(201))
        producer.flush()
        consumer = Consumer(
            {"bootstrap.servers": broker.bootstrap_servers, "group.id": "g", "auto.offset.reset": "earliest"}
        )
        consumer.subscribe(["t"])
        read = []
        while len(read) < len(values):
            read += [message.value() for message in consumer.consume(200, 1) if message.error() is None]
        consumer.close()
    assert sorted(read) == values


def opaques_of_a_batch():
    batch = batch_of_rows([(0, 0, 0, 0, b"k", b"v", object()) for _ in range(100)])
    with suppress(IndexError):
        for _ in batch:
            batch.opaques.clear()


def rows_of_a_batch():
    for row in ((1,), (1, 2, 3, 4)):
        with pytest.raises((IndexError, ValueError)):
            batch_of_rows([row])


CASES = [
    row_of_dumps_many,
    values_of_dumps,
    row_of_emit_many,
    rows_of_emit_many,
    parameters_of_raise_event,
    parameters_of_dumps,
    nested_list,
    named_parameters_of_dumps,
    buffer_of_dumps_into,
    events_within_events,
    name_that_is_no_str,
    hep_splitter,
    json_splitter,
    values_before_a_bad_one,
    opaques_of_a_batch,
    rows_of_a_batch,
]


@pytest.mark.parametrize("case", [case.__name__ for case in CASES])
def test_nothing_is_read_that_is_not_there(case):
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", __file__, case],
        # what is freed is written over
        env={**os.environ, "PYTHONPATH": str(Path(pykafkaevt.__file__).parents[1]), "PYTHONMALLOC": "debug"},
        capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


if __name__ == "__main__":
    next(case for case in CASES if case.__name__ == sys.argv[1])()
