"""confluent-kafka's clients for a socket: what the commands read from a cluster."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from math import inf
from queue import Empty, SimpleQueue
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

import click
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from pykafkaevt.cli.display import printable
from pykafkaevt.diagnosis import Diagnosis
from pykafkaevt.errors import Error
from pykafkaevt.references import all_resolved
from pykafkaevt.sockets import KafkaSocket

if TYPE_CHECKING:
    from pykafkaevt.diagnosis import Trouble
    from pykafkaevt.kafka.client import Client

# the answers of brokers while the leader of a partition changes, or its topic was just made
LEADER_MOVES = (
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
)
LEADER_RETRY = 0.1  # seconds between two questions for it


LOOK = 0.5  # seconds without an answer after which our own client is asked what is wrong
TELLING = 5.0  # seconds that our own client has for saying why there is no answer
CERTAIN = 2.0  # seconds that what has to be changed stays true before no answer is waited for any more


@contextmanager
def silent() -> Iterator[None]:
    """Our own clients log nothing: the command says it."""
    logger = logging.getLogger("pykafkaevt")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


class Hopeless(Exception):
    """No answer is waited for: something has to be changed first."""


class Witness:
    """A client of our own at the brokers of a socket, for its words and advice; opened at the first look."""

    def __init__(self, socket: KafkaSocket) -> None:
        self.socket = socket
        self.client: Client | None = None
        self.opened = inf  # time.monotonic()

    def look(self) -> Trouble | None:
        """What is wrong, None when nothing is known."""
        from pykafkaevt.clients import open_client  # noqa: PLC0415

        if self.opened == inf:
            self.opened = monotonic()
            with suppress(Error):
                self.client = open_client(self.socket, "the cluster")
        return None if self.client is None else self.client.trouble

    def is_hopeless(self) -> bool:
        """Whether something has to be changed, for all that is known after a while."""
        trouble = self.look()
        return trouble is not None and trouble.advised and monotonic() - self.opened > CERTAIN

    def wait(self) -> Trouble | None:
        """What is wrong, looked for a little longer."""
        trouble = self.look()
        while trouble is None and self.client is not None and monotonic() - self.opened < TELLING:
            sleep(LEADER_RETRY)
            trouble = self.look()
        return trouble

    def close(self) -> None:
        """Close the client."""
        if self.client is not None:
            self.client.close(0)


class Abandoned:
    """In place of a client whose answer was not waited for: it cannot be closed before it has one."""

    def close(self) -> None:
        """The process ends with the client open."""


class ClusterClient:
    """A confluent-kafka client with the global properties of a socket, and the errors it met.

    kind: Consumer or AdminClient. bootstrap_servers: instead of the socket's. librdkafka passes over those
    properties that are only a producer's. Raises click.UsageError for properties it does not accept, ConfigError for
    values that are read from elsewhere and not to be had.
    """

    def __init__(
        self,
        kind: type[Consumer] | type[AdminClient],
        socket: KafkaSocket,
        bootstrap_servers: str | None = None,
        **properties: Any,
    ) -> None:
        self.socket = socket
        self.topic = socket.topic
        self.bootstrap_servers = bootstrap_servers or socket.bootstrap_servers
        self.errors: list[KafkaError] = []
        self.diagnosis = Diagnosis(socket.global_properties.items())
        found, self.diagnosis.hidden = all_resolved("g.", socket.global_properties.items())
        settings: dict[str, Any] = dict(found)
        # the errors are reported once, in our words; librdkafka's log is for those who debug
        if "debug" not in settings:
            settings.setdefault("log_level", "0")
        settings.update(properties)
        settings["bootstrap.servers"] = self.bootstrap_servers
        settings["error_cb"] = self.errors.append
        try:
            self.client: Any = kind(settings)
        except (KafkaException, TypeError, ValueError) as error:
            reason = self.diagnosis.masked(reason_of(error))
            raise click.UsageError(f"librdkafka refuses the properties: {reason}") from None

    def ask(self, question: Callable[[], Any], is_hopeless: Callable[[], bool] = bool) -> Any:
        """The answer to a question that blocks; Ctrl-C ends the wait, and is_hopeless() with Hopeless.

        librdkafka waits without looking for signals, so the question is asked on a thread of its own.
        """
        answers: SimpleQueue[tuple[Any, Exception | None]] = SimpleQueue()

        def run() -> None:
            try:
                answers.put((question(), None))
            except Exception as error:
                answers.put((None, error))

        threading.Thread(target=run, name="pykafkaevt question", daemon=True).start()
        try:
            while True:
                with suppress(Empty):
                    answer, error = answers.get(timeout=LOOK)
                    break
                if is_hopeless():
                    raise Hopeless
        except (KeyboardInterrupt, Hopeless):
            self.client = Abandoned()
            raise
        if error is not None:
            raise error
        return answer

    def metadata(self, timeout: float, topic: str | None = None) -> Any:
        """The cluster's metadata, of all topics or of one; timeout in seconds.

        Asking for all topics never makes a topic. Raises click.ClickException when no broker answers.
        """
        end = monotonic() + timeout
        witness = Witness(self.socket)
        with silent(), closing(witness):
            try:
                return self.ask(partial(self.client.list_topics, topic, timeout=timeout), witness.is_hopeless)
            except Hopeless:
                raise self.failure("no answer", trouble=witness.look()) from None
            except KafkaException as error:
                within = f" within {timeout:g} s" if monotonic() >= end else ""
                raise self.failure(f"no answer{within}", error, witness.wait()) from error

    def partitions(self, timeout: float) -> list[int]:
        """The numbers of the topic's partitions, none when there is no such topic."""
        topic = self.metadata(timeout).topics.get(self.topic)
        return sorted(topic.partitions) if topic is not None and topic.error is None else []

    def may_write(self, timeout: float) -> bool:
        """Whether the cluster lets this client write to the topic; also when it does not say."""
        topics = TopicCollection([self.topic])
        ask = partial(self.client.describe_topics, topics, include_authorized_operations=True, request_timeout=timeout)
        try:
            allowed = self.ask(lambda: ask()[self.topic].result().authorized_operations)
        except KafkaException:
            return True
        return allowed is None or "WRITE" in {operation.name for operation in allowed}

    def offsets(self, timeout: float) -> dict[int, tuple[int, int]]:
        """By partition of the topic its first offset kept and its end offset; a Consumer only.

        timeout: seconds, also for the leaders of a new topic to be found.
        """
        end = monotonic() + timeout
        found: dict[int, tuple[int, int]] = {}
        for number in self.partitions(timeout):
            while number not in found:
                try:
                    partition = TopicPartition(self.topic, number)
                    found[number] = self.ask(partial(self.client.get_watermark_offsets, partition, timeout))
                except KafkaException as error:
                    if error.args[0].code() not in LEADER_MOVES or monotonic() > end:
                        raise self.failure(f"no offsets of the topic {self.topic}", error) from error
                    sleep(LEADER_RETRY)
        return found

    def failure(
        self, what: str, error: KafkaException | None = None, trouble: Trouble | None = None
    ) -> click.ClickException:
        """An exception that says what failed, at which brokers, and why: the trouble, or what librdkafka reported."""
        if trouble is not None:
            reason = trouble.text
        else:
            self.client.poll(0)  # serves error_cb
            # "all brokers are down" comes after the errors that say why
            reasons = [e for e in self.errors if e.code() != KafkaError._ALL_BROKERS_DOWN] or self.errors
            reason = reasons[-1].str() if reasons else reason_of(error) if error is not None else ""
            reason = self.diagnosis.masked(reason)
        return click.ClickException(f"{self.bootstrap_servers}: {what}" + (f": {printable(reason)}" if reason else ""))


def reason_of(error: Exception) -> str:
    """librdkafka's text of an exception of confluent-kafka."""
    cause = error.args[0] if error.args else error
    return cause.str() if isinstance(cause, KafkaError) else str(cause)


def consumer(socket: KafkaSocket, bootstrap_servers: str | None = None, **properties: Any) -> ClusterClient:
    """A Consumer that reads assigned partitions and leaves no trace in the cluster."""
    return ClusterClient(
        Consumer,
        socket,
        bootstrap_servers,
        **{
            "group.id": "pykafkaevt",  # required by librdkafka; nothing is committed, no group is joined
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            **properties,
        },
    )
