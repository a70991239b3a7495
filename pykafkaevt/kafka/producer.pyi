from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from typing_extensions import disjoint_base

from pykafkaevt.jsonrpc.template import EventTemplate
from pykafkaevt.kafka.client import Client
from pykafkaevt.options import ProducerOptions

_Text: TypeAlias = bytes | bytearray | memoryview | str | None
_Headers: TypeAlias = Iterable[tuple[str, bytes | str | None]] | Mapping[str, bytes | str | None]

@disjoint_base
class Producer:
    @property
    def client(self) -> Client: ...
    @property
    def name(self) -> str: ...
    @property
    def refusal(self) -> str | None: ...
    @property
    def last_error(self) -> str | None: ...
    def _open(
        self,
        client: Client,
        topic: str,
        topic_properties: tuple[tuple[str, str], ...],
        options: ProducerOptions,
        name: str,
        *,
        owns_client: bool,
    ) -> None: ...
    def __del__(self) -> None: ...
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
    def _counts(self) -> dict[str, Any]: ...
