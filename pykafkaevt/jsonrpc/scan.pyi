from collections.abc import Iterable
from typing import TypedDict

from typing_extensions import disjoint_base

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

@disjoint_base
class Splitter:
    def __init__(self, limit: int) -> None: ...
    def feed(self, data: bytes) -> list[tuple[bytes, str | None]]: ...
    def finish(self) -> list[tuple[bytes, str | None]]: ...
