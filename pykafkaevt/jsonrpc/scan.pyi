from collections.abc import Iterable
from typing import TypedDict

class _Scanned(TypedDict):
    method: str | None
    id: bytes | None
    key: str | None
    time: bytes | None

def scan_event(
    data: bytes | bytearray | memoryview,
    *,
    key_fields: Iterable[str] = (),
    time_field: str | None = None,
    plain: bool = False,
) -> _Scanned: ...
