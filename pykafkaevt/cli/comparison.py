"""The demo's look at confluent-kafka: the same events through both, in turns, in one process."""

from __future__ import annotations

from time import perf_counter
from typing import NamedTuple, cast

import click

from pykafkaevt.bench.runner import settings_of
from pykafkaevt.bench.schedule import Latencies, schedule
from pykafkaevt.bench.side import Side, Spec
from pykafkaevt.bench.worker import chunk_size, made_side
from pykafkaevt.bench.workload import Chunk, make
from pykafkaevt.properties import properties_of
from pykafkaevt.sockets import KafkaSocket

NAMES = {"ours": "pykafkaevt", "confluent": "confluent-kafka"}
TURNS = 2  # of each side
RECORDS = 50_000  # made before, sent again and again


class Lane(NamedTuple):
    """A side and the chunks that it is given."""

    side: Side
    chunks: list[Chunk]


def spec_of(socket: KafkaSocket) -> Spec:
    """The run of both: a call a batch here, a call a record there, the properties of a Producer of the socket."""
    idempotence = dict(properties_of(socket)).get("enable.idempotence", "false")
    return {
        "side": "ours",
        "socket": socket.to_text(secrets=True),
        "settings": {**settings_of(socket), "enable.idempotence": idempotence},
        "api": "emit_many",
        "batch": 512,
        "threads": 1,
        "records": RECORDS,
        "duration": None,
        "throughput": None,
        "reports": "none",
        "warmup": 1,
        "seed": 7,
        "record_size": None,
        "payload_file": None,
    }


def rates(socket: KafkaSocket, bootstrap_servers: str, seconds: float) -> dict[str, float]:
    """Records/s by side, from the first call to the last acknowledgement of each turn; `seconds` are of both together.

    The first records wait for connections and a producer ID, and are not counted. Raises click.ClickException when
    a client refuses the properties or a record is not delivered.
    """
    spec = spec_of(socket)
    work = make(RECORDS, ready=False, seed=spec["seed"])
    lanes: dict[str, Lane] = {}
    try:
        for side, name in NAMES.items():
            own = cast(Spec, {**spec, "side": side})
            try:
                made = made_side(own, bootstrap_servers, socket.topic, Latencies())
            except RuntimeError as error:
                raise click.ClickException(f"{name}: {error}") from error
            lanes[name] = Lane(made, work.chunks(chunk_size(own)))
            made.send(lanes[name].chunks[0], None)
        for lane in lanes.values():
            lane.side.flush(None)
        warm = {name: lane.side.counts()[0] for name, lane in lanes.items()}
        spent = dict.fromkeys(lanes, 0.0)
        for _ in range(TURNS):
            for name, lane in lanes.items():
                spent[name] += turn(lane, seconds / TURNS / len(lanes))
        for name, lane in lanes.items():
            if failed := lane.side.counts()[1]:
                raise click.ClickException(f"{failed:,} records of {name} were not delivered")
        return {name: (lane.side.counts()[0] - warm[name]) / spent[name] for name, lane in lanes.items()}
    finally:
        for lane in lanes.values():
            lane.side.close()


def turn(lane: Lane, seconds: float) -> float:
    """Send for so many seconds and wait for the acknowledgements; the seconds it took."""
    begin = perf_counter()
    for chunk, _ in schedule(lane.chunks, None, seconds, None):
        lane.side.send(chunk, None)
    lane.side.flush(None)
    return perf_counter() - begin
