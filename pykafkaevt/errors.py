"""The exceptions of pykafkaevt; nothing here imports anything of the package."""

from __future__ import annotations


class Error(Exception):
    """Base of every exception pykafkaevt raises for a reason of its own."""


class SocketError(Error, ValueError):
    """A Kafka socket or broker_id text that cannot be used.

    reason: what is wrong, in a few words. position: offset in characters into the text given.
    The message repeats the text with its secrets masked and a caret below the place.
    """

    def __init__(self, reason: str, position: int, shown: str = "", column: int | None = None) -> None:
        """shown: the text with secrets masked; column: where `position` falls in it."""
        super().__init__(reason, position, shown, column)
        self.reason = reason
        self.position = position
        self._shown = shown
        self._column = position if column is None else column

    def __str__(self) -> str:
        place = f"{self.reason} at position {self.position}"
        if not self._shown:
            return place
        return f"{place}\n  {self._shown}\n  {' ' * self._column}^"


class ConfigError(Error, ValueError):
    """librdkafka refuses a property, a broker ID is given twice, or the bridge's configuration cannot be used.

    property: its name, with the g. or t. prefix where it came from a socket; of the bridge the option, the file and its
    key, or the input. reason: librdkafka's own, or ours.
    """

    def __init__(self, property: str, reason: str) -> None:
        super().__init__(property, reason)
        self.property = property
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.property}: {self.reason}"


class SerializeError(Error, ValueError):
    """A value that has no JSON text: not valid UTF-8 under invalid="strict", nested too deep, too long.

    In a batch call `.position` is the index of the bad row and `.queued` tells how many before it were queued.
    """

    queued: int = 0
    position: int = 0


class SerializeTypeError(Error, TypeError):
    """A value of a type JSON has none for. In a batch call it has `.position` and `.queued`, as SerializeError."""

    queued: int = 0
    position: int = 0


class QueueFull(Error, BufferError):
    """The producer's queue (librdkafka's queue.buffering.max.messages/.kbytes) has no room.

    In a batch call `.queued` tells how many records were queued before that, and `.position` is the index of the first
    row that was not handled: where to go on. (A row that librdkafka rejected was handled, and not queued.)
    """

    queued: int = 0
    position: int = 0


class DeliveryError(Error):
    """A record that librdkafka or the broker refused, or a client that failed.

    code: librdkafka's rd_kafka_resp_err_t (negative: the client's own, positive: Kafka's protocol).
    reason: its text. retriable: whether the same record may succeed when tried again.
    """

    def __init__(self, code: int, reason: str, retriable: bool = False) -> None:
        super().__init__(code, reason, retriable)
        self.code = code
        self.reason = reason
        self.retriable = retriable

    def __str__(self) -> str:
        return f"{self.reason} (code {self.code})"


class Closed(Error):
    """The producer, interface or connector was closed before this call, or while it waited.

    In a batch call it has `.position` and `.queued`, as QueueFull.
    """

    queued: int = 0
    position: int = 0


class EventError(Error, LookupError):
    """An unknown event or report route, or a subscriber that does not exist.

    code: what OpenSIPS's MI answers with, 400 when subscribing an unknown event, 404 otherwise.
    """

    def __init__(self, reason: str, code: int = 404) -> None:
        super().__init__(reason, code)
        self.reason = reason
        self.code = code

    def __str__(self) -> str:
        return self.reason
