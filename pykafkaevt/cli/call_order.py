"""The demo's events, and whether those read back are the ones that were sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pykafkaevt.sip.message import SIP_FIELDS

CALL_ID = SIP_FIELDS.index("callid")

Row = tuple[Any, ...]  # values of SIP_FIELDS


def renamed(row: Row, suffix: str) -> Row:
    """The row as of another call, its Call-ID ending in the suffix."""
    return (*row[:CALL_ID], row[CALL_ID] + suffix, *row[CALL_ID + 1 :])


class CallOrder:
    """Follows the records of one run, and finds whether each call lies whole and in order in one partition.

    rows: the messages of one pass. suffixes: what each pass appends to a Call-ID. dumps: row to record value.
    trimmed: partitions whose first records of this run the broker has dropped already.
    """

    def __init__(
        self, rows: Iterable[Row], suffixes: list[str], dumps: Callable[..., bytes], trimmed: set[int]
    ) -> None:
        self.calls: dict[str, list[Row]] = {}
        for row in rows:
            self.calls.setdefault(row[CALL_ID], []).append(row)
        self.suffixes = suffixes
        self.dumps = dumps
        self.trimmed = trimmed
        self.records = 0
        self.faults: dict[str, str] = {}  # by key of the call
        self._keys = {call + suffix: (call, suffix) for suffix in suffixes for call in self.calls}
        # by key: the partition, the records still to come
        self._read: dict[str, tuple[int, list[bytes]]] = {}
        self._ends: set[str] = set()  # keys of calls whose beginning the broker dropped

    def add(self, partition: int, key: bytes | None, value: bytes | None) -> bool:
        """Follow the next record of a partition; False when it is not of this run."""
        name = (key or b"").decode("utf-8", "replace")
        if name not in self._keys:
            return False
        self.records += 1
        if name not in self._read:
            call, suffix = self._keys[name]
            expected = [self.dumps(*renamed(row, suffix)) for row in self.calls[call]]
            if partition in self.trimmed and value in expected[1:]:
                expected = expected[expected.index(value) :]
                self._ends.add(name)
            self._read[name] = (partition, expected)
        home, expected = self._read[name]
        if partition != home:
            self.faults.setdefault(name, f"its records are in partitions {home} and {partition}")
        elif not expected or value != expected[0]:
            self.faults.setdefault(name, f"a record of partition {partition} is out of order or changed")
        else:
            del expected[0]
        return True

    def finish(self) -> tuple[int, int]:
        """The number of calls read back whole and of all calls; `faults` then has those that lack records too.

        A trimmed partition may lack the beginning of a call or all of it, but not in the last pass.
        """
        whole = 0
        for name, (call, suffix) in self._keys.items():
            partition, missing = self._read.get(name, (None, self.calls[call]))
            if not missing and name not in self._ends:
                whole += name not in self.faults
                continue
            dropped = self.trimmed if partition is None else name in self._ends and not missing
            if not dropped or suffix == self.suffixes[-1]:
                self.faults.setdefault(name, "it has not come back whole")
        return whole, len(self._keys)
