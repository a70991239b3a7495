from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from typing_extensions import Buffer, Self, disjoint_base

_Invalid: TypeAlias = Literal["replace", "strict", "latin-1"]

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
    def dumps_many(self, rows: Iterable[Sequence[object]]) -> bytes: ...
    def dumps_into(self, buffer: Buffer, /, *values: object, offset: int = 0) -> int: ...

def dumps(
    method: str,
    params: Mapping[str, object] | list[Any] | tuple[Any, ...] | None = None,
    *,
    params_pairs: Iterable[tuple[str, object]] | None = None,
    invalid: _Invalid = "replace",
) -> bytes: ...
