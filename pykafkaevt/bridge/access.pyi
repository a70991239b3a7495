from collections.abc import Iterable
from typing import final

from typing_extensions import Self

@final
class Access:
    def __new__(cls, networks: Iterable[str] = (), hep_keys: Iterable[str] = ()) -> Self: ...
    def admits(self, host: str) -> bool: ...
