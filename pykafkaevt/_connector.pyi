from collections.abc import Callable, Iterable
from typing import Any

from typing_extensions import disjoint_base

from pykafkaevt._producer import Producer
from pykafkaevt.errors import DeliveryError

_Text = bytes | bytearray | memoryview | str | None
_Route = Callable[[KafkaReport], object] | str | None

@disjoint_base
class KafkaReport:
    @property
    def kafka_id(self) -> str: ...
    @property
    def kafka_status(self) -> int: ...
    @property
    def kafka_key(self) -> Any: ...
    @property
    def kafka_msg(self) -> Any: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def error(self) -> DeliveryError | None: ...

@disjoint_base
class Route: ...

@disjoint_base
class Broker:
    @property
    def id(self) -> str: ...
    @property
    def producer(self) -> Producer: ...
    def __init__(self, id: str, producer: Producer) -> None: ...

@disjoint_base
class Connector:
    @property
    def brokers(self) -> dict[str, Broker]: ...
    @property
    def routes(self) -> dict[str, Callable[[KafkaReport], object]]: ...
    @property
    def closed(self) -> bool: ...
    def _close(self) -> None: ...
    def kafka_publish(self, broker_id: str, message: _Text, key: _Text = None, report_route: _Route = None) -> int: ...
    def kafka_publish_many(
        self,
        broker_id: str,
        messages: Iterable[_Text],
        keys: Iterable[_Text] | None = None,
        report_route: _Route = None,
    ) -> int: ...

