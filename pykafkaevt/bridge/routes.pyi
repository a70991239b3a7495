from collections.abc import Iterable, Sequence

from typing_extensions import Self, disjoint_base

from pykafkaevt.kafka.producer import Producer

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
