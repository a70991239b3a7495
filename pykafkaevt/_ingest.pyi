from collections.abc import Callable, Iterable, Sequence
from typing import Any

from typing_extensions import Buffer, Self, disjoint_base

from pykafkaevt._producer import Producer
from pykafkaevt.errors import DeliveryError

@disjoint_base
class Routes:
    @property
    def targets(self) -> tuple[tuple[str, Producer, bool], ...]: ...
    def __new__(
        cls,
        targets: Iterable[tuple[str, Producer, bool]],
        *,
        key_fields: Sequence[str] = ("callid", "call_id", "Call-ID"),
        time_field: str | None = None,
        headers: str = "none",
        dead_letter: Producer | None = None,
        subscribers: Iterable[tuple[str, Producer, bool]] = (),
    ) -> Self: ...
    def abandon(self) -> None: ...

@disjoint_base
class Ingest:
    @property
    def url(self) -> str: ...
    def __new__(
        cls,
        kind: str,
        url: str,
        routes: Routes,
        *,
        raw: bool = False,
        method: str | None = None,
        max_size: int = 65536,
    ) -> Self: ...
    def set_routes(self, routes: Routes) -> None: ...
    def uses(self, routes: Routes) -> bool: ...
    def feed(
        self, data: Buffer, source: str = "", *, on_report: Callable[[DeliveryError | None], object] | None = None
    ) -> bool: ...
    def invalid(self, reason: str, data: Buffer, source: str = "") -> None: ...
    def receive(self, fd: int) -> None: ...
    def stop(self) -> None: ...
    def abort(self) -> None: ...
    def counts(self) -> dict[str, Any]: ...
    def samples(self) -> list[dict[str, Any]]: ...
    def last_events(self) -> list[dict[str, Any]]: ...
