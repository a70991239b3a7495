from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from typing_extensions import disjoint_base

from pykafkaevt.errors import DeliveryError
from pykafkaevt.jsonrpc.template import EventTemplate
from pykafkaevt.kafka.client import Client
from pykafkaevt.kafka.delivery import DeliveryBatch

_Text: TypeAlias = bytes | bytearray | memoryview | str | None
_Headers: TypeAlias = Iterable[tuple[str, bytes | str | None]]

@disjoint_base
class Producer:
    @property
    def client(self) -> Client: ...
    @property
    def name(self) -> str: ...
    def _open(
        self,
        client: Client,
        topic: str,
        topic_properties: tuple[tuple[str, str], ...],
        on_delivery: Callable[[DeliveryBatch], object] | None,
        on_error: Callable[[DeliveryError], object] | None,
        on_full: str,
        full_timeout: float | None,
        invalid: str,
        name: str,
        pace: int | None,
    ) -> None: ...
    def publish(
        self,
        value: _Text,
        key: _Text = None,
        *,
        headers: _Headers | None = None,
        timestamp_ms: int | None = None,
        partition: int | None = None,
        report: bool = False,
        opaque: object = None,
    ) -> bool: ...
    def emit(
        self,
        template: EventTemplate,
        /,
        *values: object,
        key: _Text = None,
        report: bool = False,
        opaque: object = None,
    ) -> bool: ...
    def publish_many(
        self,
        values: Iterable[_Text],
        keys: Iterable[_Text] | None = None,
        *,
        headers: _Headers | None = None,
        timestamps_ms: Iterable[int] | None = None,
        report: bool = False,
        opaques: Iterable[object] | None = None,
    ) -> int: ...
    def emit_many(
        self,
        template: EventTemplate,
        rows: Iterable[tuple[object, ...] | list[Any]],
        *,
        key_field: str | None = None,
        keys: Iterable[_Text] | None = None,
        headers: _Headers | None = None,
        timestamps_ms: Iterable[int] | None = None,
        report: bool = False,
        opaques: Iterable[object] | None = None,
    ) -> int: ...
    def __len__(self) -> int: ...
    def _room(self) -> int: ...
    def _wait_for_room(self, seen: int, seconds: float) -> None: ...
    def _counts(self) -> dict[str, Any]: ...
