"""What is sent: the synthetic SIP event, random records, or the lines of a file; all made before the clock starts."""

from __future__ import annotations

import random
import string
from collections.abc import Iterator
from typing import Any, NamedTuple

from pykafkaevt.jsonrpc.template import EventTemplate
from pykafkaevt.sip.message import SIP_EVENT, SIP_FIELDS

EVENT = SIP_EVENT
# what the synthetic requests leave out of E_SIP
ABSENT = {"status", "reason", "cseq_method", "user_agent", "transport", "capture_id", "correlation_id", "node", "raw"}
FIELDS = tuple(name for name in SIP_FIELDS if name not in ABSENT)
VALUE_SIZE, KEY_SIZE = 277, 25  # bytes of the event as JSON-RPC, and of its Call-ID
POOL = 100_000  # records made at most; a longer run sends them again

Row = tuple[Any, ...]


def event_rows(count: int, seed: int) -> list[Row]:
    """`count` tuples of the values of FIELDS, four messages a call; the same for the same seed."""
    random_ = random.Random(seed)
    rows: list[Row] = []
    call_id = caller = callee = ""
    for n in range(count):
        if n % 4 == 0:
            call_id = f"{random_.getrandbits(64):016x}@10.1.2.3"
            caller, callee = (f"sip:{random_.randrange(10**7):07}@a.example" for _ in "ab")
        method = ("INVITE", "NOTIFY", "UPDATE", "CANCEL")[n % 4]
        time = 1790000000000000 + n  # microseconds
        rows.append((method, call_id, 1 + n % 4, caller, callee, "192.0.2.10", 5060, "192.0.2.11", 5062, time))
    return rows


def as_dict(row: Row) -> dict[str, Any]:
    """The notification of one row as a program without templates builds it."""
    method, callid, cseq, from_uri, to_uri, src_ip, src_port, dst_ip, dst_port, time = row
    return {
        "jsonrpc": "2.0",
        "method": EVENT,
        "params": {
            "method": method,
            "callid": callid,
            "cseq": cseq,
            "from_uri": from_uri,
            "to_uri": to_uri,
            "src_ip": src_ip,
            "src_port": src_port,
            "dst_ip": dst_ip,
            "dst_port": dst_port,
            "time": time,
        },
    }


class Chunk(NamedTuple):
    """Records sent together: rows of an event (the JSON is made inside the clock) or ready values; and their keys.

    keys: the Call-IDs as str for rows; for values bytes, or None without a key.
    """

    rows: list[Row]
    values: list[bytes]
    keys: list[Any]

    def part(self, start: int, count: int) -> Chunk:
        """`count` records from `start` on."""
        if count == len(self.keys):
            return self
        end = start + count
        return Chunk(self.rows[start:end], self.values[start:end], self.keys[start:end])


class Workload(NamedTuple):
    """The records of a run. mean_size: bytes of value and key."""

    rows: list[Row]
    values: list[bytes]
    keys: list[Any]
    mean_size: float

    def chunks(self, size: int) -> list[Chunk]:
        """All of them, in chunks of `size` records (the last may be shorter)."""
        return list(self._chunks(size))

    def _chunks(self, size: int) -> Iterator[Chunk]:
        for n in range(0, len(self.keys), size):
            yield Chunk(self.rows[n : n + size], self.values[n : n + size], self.keys[n : n + size])


def make(
    count: int | None, *, ready: bool, seed: int, record_size: int | None = None, payload_file: str | None = None
) -> Workload:
    """The workload of a run of `count` records (None: as many as the duration takes).

    ready: the events as bytes, for calls that take ready values. record_size: random printable bytes instead;
    payload_file: its lines instead. Raises OSError, and ValueError for a file without lines.
    """
    pool = POOL if count is None else min(count, POOL)
    if payload_file is not None:
        with open(payload_file, "rb") as file:
            values = [line.rstrip(b"\r\n") for line in file]
        if not values:
            raise ValueError(f"{payload_file} has no lines")
    elif record_size is not None:
        random_ = random.Random(seed)
        letters = (string.ascii_letters + string.digits).encode()
        # 1,000 different ones: enough that compression finds no repetition within a batch
        values = [bytes(random_.choices(letters, k=record_size)) for _ in range(min(pool, 1000))]
    else:
        rows = event_rows(pool, seed)
        if not ready:
            return Workload(rows, [], [row[1] for row in rows], VALUE_SIZE + KEY_SIZE)
        dumps = EventTemplate(EVENT, FIELDS).dumps
        return Workload([], [dumps(*row) for row in rows], [row[1].encode() for row in rows], VALUE_SIZE + KEY_SIZE)
    values = (values * (pool // len(values) + 1))[: max(pool, len(values))]
    return Workload([], values, [None] * len(values), sum(map(len, values)) / len(values))
