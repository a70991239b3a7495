"""The demo's events, and whether those read back are the ones that were sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from pykafkaevt.sip.message import SIP_FIELDS

CALL_ID = SIP_FIELDS.index("callid")

Row = tuple[Any, ...]  # values of SIP_FIELDS


def renamed(row: Row, suffix: str) -> Row:
    """The row as of another call, its Call-ID ending in the suffix."""
    return (*row[:CALL_ID], row[CALL_ID] + suffix, *row[CALL_ID + 1 :])


class Verdict(NamedTuple):
    """What came back: calls, those of them that were whole and in order, records that never came, and those that
    came out of order, twice, changed, or in another partition than their call's first."""

    calls: int
    whole: int
    lost: int
    misplaced: int


class Come(NamedTuple):
    """What has come of a call: its partition, the values still to come, and those that a later one came before."""

    partition: int
    expected: list[bytes]
    passed: list[bytes]


class CallOrder:
    """Follows the records of one run, and finds whether each call lies whole and in order in one partition.

    rows: the messages of one replay. suffixes: what each replay appends to a Call-ID. dumps: row to record value.
    """

    def __init__(self, rows: Iterable[Row], suffixes: list[str], dumps: Callable[..., bytes]) -> None:
        self.calls: dict[str, list[Row]] = {}
        for row in rows:
            self.calls.setdefault(row[CALL_ID], []).append(row)
        self.dumps = dumps
        self.sent = len(suffixes) * sum(map(len, self.calls.values()))
        self.records = 0
        self.misplaced = 0
        self.faults: dict[str, str] = {}  # by key of the call
        self._keys = {call + suffix: (call, suffix) for suffix in suffixes for call in self.calls}
        self._read: dict[str, Come] = {}  # by key

    def add(self, partition: int, key: bytes | None, value: bytes | None) -> bool:
        """Follow the next record of a partition; False when it is not of this run."""
        name = (key or b"").decode("utf-8", "replace")
        if name not in self._keys:
            return False
        self.records += 1
        if name not in self._read:
            call, suffix = self._keys[name]
            self._read[name] = Come(partition, [self.dumps(*renamed(row, suffix)) for row in self.calls[call]], [])
        home, expected, passed = self._read[name]
        if partition == home and value in expected:
            place = expected.index(value)
            passed += expected[:place]
            del expected[: place + 1]
            return True
        fault = f"a record of partition {partition} is out of order, there twice or changed"
        if partition != home:
            fault = f"its records are in partitions {home} and {partition}"
        for still_to_come in (expected, passed):
            if value in still_to_come:
                still_to_come.remove(value)
        self.misplaced += 1
        self.faults.setdefault(name, fault)
        return True

    def finish(self) -> Verdict:
        """What came back; `faults` then has the calls that lack records too."""
        lost = 0
        for name, (call, _) in self._keys.items():
            come = self._read.get(name)
            missing = len(self.calls[call]) if come is None else len(come.expected) + len(come.passed)
            lost += missing
            if missing:
                self.faults.setdefault(name, f"{missing} of its records did not come back")
        return Verdict(len(self._keys), len(self._keys) - len(self.faults), lost, self.misplaced)
