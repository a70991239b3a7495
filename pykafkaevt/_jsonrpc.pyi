from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

from typing_extensions import Buffer, Self, disjoint_base

_Invalid: TypeAlias = Literal["replace", "strict", "latin-1"]

class _Skip: ...

SKIP: _Skip

@disjoint_base
class RawJSON:
    @property
    def data(self) -> bytes: ...
    def __new__(cls, data: bytes | bytearray | memoryview | str) -> Self: ...

@disjoint_base
class EventTemplate:
    @property
    def method(self) -> str: ...
    @property
    def fields(self) -> tuple[str, ...]: ...
    @property
    def invalid(self) -> _Invalid: ...
    def __new__(cls, method: str, fields: Iterable[str], *, invalid: _Invalid = "replace") -> Self: ...
    def dumps(self, *values: object) -> bytes: ...
    def dumps_into(self, buffer: Buffer, /, *values: object, offset: int = 0) -> int: ...

def dumps(
    method: str,
    params: Mapping[str, object] | list[Any] | tuple[Any, ...] | None = None,
    *,
    params_pairs: Iterable[tuple[str, object]] | None = None,
    invalid: _Invalid = "replace",
) -> bytes: ...
def simd() -> str: ...
