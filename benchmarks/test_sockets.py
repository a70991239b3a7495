"""Parsing a socket, as an event's first subscription does."""

import pytest

import pykafkaevt


@pytest.mark.parametrize(
    "text",
    [
        "kafka:127.0.0.1:9092/events",
        "kafka:kafka1.example.com:9092,kafka2.example.com:9092,[2001:db8::1]:9092/acc?g.linger.ms=5&g.compression.type=lz4&t.acks=all&key=callid",
    ],
    ids=["short", "long"],
)
def test_parse_socket(benchmark, text):
    benchmark.group = "parse_socket"
    assert benchmark(pykafkaevt.parse_socket, text).topic in ("events", "acc")
