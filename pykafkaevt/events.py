"""The Event Interface: events are published, Kafka sockets subscribe, raising an event queues it to its subscribers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple
from weakref import ref

from pykafkaevt.clients import ClientPool
from pykafkaevt.errors import Closed, EventError
from pykafkaevt.event import Event, Subscription, call_reports
from pykafkaevt.kafka.delivery import DeliveryReport
from pykafkaevt.kafka.process import renewed_after_fork
from pykafkaevt.options import ProducerOptions, checked_expire, checked_timeout
from pykafkaevt.producer import CLOSE_TIMEOUT, leave
from pykafkaevt.sockets import KafkaSocket, parse_socket

# A subscriber whose cluster is away holds an event back once, for this long (seconds); after that what its full queue
# does not take is dropped and counted, until there is room again.
FULL_TIMEOUT = 1.0

Params = Mapping[str, object] | Sequence[object] | str | None


class EventStats(NamedTuple):
    """What an interface has done so far.

    raised: events, each counted once however many subscribers it had; queued … errors: records, over all
    subscribers, as in ProducerStats; producers: the counters of each producer in use, by socket text.
    """

    raised: int
    queued: int
    delivered: int
    failed: int
    dropped: int
    rejected: int
    in_flight: int
    errors: dict[int, int]
    producers: dict[str, dict[str, Any]]


class EventInterface:
    """Events and their subscribers, as OpenSIPS's Event Interface with its Kafka transport; a context manager.

    producer_options: those of ProducerOptions but on_delivery, for every subscriber. Without on_full a full queue holds
    raise_event back for 1 s at most, once, so that a subscriber whose cluster is away does not hold back the others.
    Safe from many threads; after fork() as Producer.

    max_clients: Kafka clients at one time, those that still deliver for subscribers that are gone included; None for no
    limit. subscribe_event raises Error for one more.
    """

    def __init__(self, *, producer_options: Mapping[str, Any] | None = None, max_clients: int | None = None) -> None:
        """Connects nowhere: that is done when a subscriber's first event is raised, and in the background."""
        options = {"on_full": "block_once", "full_timeout": FULL_TIMEOUT, **(producer_options or {})}
        self._options = ProducerOptions(on_delivery=call_reports, **options)
        self._pool = ClientPool(self._options, max_clients)
        self._events: dict[str, Event] = {}
        self._numbered = 0  # the ids given so far
        self._raised_before = 0  # of events that were forgotten
        self._held: dict[str, tuple[Subscription, ...]] = {}
        self._closed = False
        self._after_fork()
        renewed_after_fork(self)

    def _after_fork(self) -> None:
        # reentrant: a signal handler may come in while this thread holds it
        self._changed = threading.Condition(threading.RLock())
        self._sweeper: threading.Thread | None = None

    def __del__(self) -> None:
        # without __init__ there is none
        if changed := vars(self).get("_changed"):
            with changed:
                changed.notify_all()

    def publish_event(self, name: str, fields: Sequence[str] | None = None) -> Event:
        """Make an event known; an existing name gives the same event.

        fields: the names of its parameters, in order, when they are always the same: values are then given as a
        tuple, and raised fastest. Raises SerializeError for an empty name, ValueError when the event exists with other
        fields, Closed.
        """
        with self._changed:
            self._check_open()
            event = self._events.get(name)
            if event is None:
                event = self._events[name] = Event(name, self._numbered + 1, fields, self._options.invalid)
                self._numbered += 1
            elif fields is not None and (event.template is None or event.template.fields != tuple(fields)):
                raise ValueError(f"the event {name!r} exists with other fields")
            return event

    def forget_events(self, most: int, keep: Collection[str] = ()) -> None:
        """Forget events, the first published first, until at most so many are known.

        Those that have subscribers, and the names in `keep`, stay even when they are more. A forgotten event that is
        published again is a new one. Raises Closed.
        """
        with self._changed:
            self._check_open()
            for event in list(self._events.values()):
                if len(self._events) <= most:
                    break
                self._sweep(event)
                if not event.subscriptions and event.name not in keep:
                    self._raised_before += event.raised
                    del self._events[event.name]
                    self._held.pop(event.name, None)

    def _check_open(self) -> None:
        if self._closed:
            raise Closed("the event interface is closed")

    def _event(self, event: Event | str, code: int = 404, reason: str = "Event not registered") -> Event:
        if isinstance(event, Event):
            return event
        found = self._events.get(event)
        if found is None:
            raise EventError(f"{reason}: {event!r}", code)
        return found

    def subscribe_event(self, name: str, socket: str | KafkaSocket, expire: float | None = None) -> None:
        """Subscribe a Kafka socket to an event, or refresh the subscription it has.

        expire: seconds from now; None never expires, 0 ends the subscription at once. The same brokers, topic and
        properties in any order are the same socket. Raises EventError for an unknown event, SocketError, ConfigError,
        ValueError for an expire that is negative, nan or infinite, Closed. Source: OpenSIPS's MI command
        event_subscribe.
        """
        expire = checked_expire(expire)
        with self._changed:
            self._check_open()
            event = self._event(name, 400, "Bad parameter value: unknown event")
            parsed = parse_socket(socket) if isinstance(socket, str) else socket
            self._sweep(event)
            there = next((one for one in event.subscriptions if one.socket == parsed), None)
            if expire == 0:
                self._set(event, tuple(one for one in event.subscriptions if one is not there))
            elif there is not None:
                there.refresh(expire)
                self._set(event, event.subscriptions)
            else:
                made = Subscription(parsed, self._pool.borrow(parsed), expire)
                self._set(event, (*event.subscriptions, made))

    def unsubscribe_event(self, name: str, socket: str | KafkaSocket) -> None:
        """End a subscription; what is queued is still delivered. Raises EventError when there is none."""
        parsed = parse_socket(socket) if isinstance(socket, str) else socket
        with self._changed:
            self._check_open()
            event = self._event(name)
            kept = tuple(one for one in event.subscriptions if one.socket != parsed)
            if len(kept) == len(event.subscriptions):
                raise EventError("Subscriber does not exist", 404)
            self._set(event, kept)

    def _set(self, event: Event, subscriptions: tuple[Subscription, ...]) -> None:
        """Give the event these subscriptions, and the producers of those that are gone back."""
        event.subscribe_all(subscriptions)
        for gone in self._held.get(event.name, ()):
            if gone not in subscriptions:
                self._pool.give_back(gone.socket, gone.producer)
        self._held[event.name] = subscriptions
        if event.next_expiry() is not None:
            if self._sweeper is None:
                self._sweeper = threading.Thread(
                    target=_expire, args=(ref(self), self._changed), name="pykafkaevt expiry", daemon=True
                )
                self._sweeper.start()
            self._changed.notify()

    def _sweep(self, event: Event) -> None:
        """Drop the event's expired subscriptions."""
        # raising leaves expired ones out by itself, so the ones held are looked at too
        kept = tuple(one for one in event.subscriptions if not one.expired)
        if kept != self._held.get(event.name, ()):
            self._set(event, kept)

    def _sweep_all(self) -> float | None:
        """Drop all expired subscriptions; the seconds until the next expires, None when none does."""
        for event in self._events.values():
            self._sweep(event)
        waits = [wait for event in self._events.values() if (wait := event.next_expiry()) is not None]
        return min(waits, default=None)

    def raise_event(
        self,
        event_or_name: Event | str,
        params: Params = None,
        *,
        call_id: str | bytes | None = None,
        sip_message: str | bytes | None = None,
        report: Callable[[DeliveryReport], object] | None = None,
    ) -> int:
        """Raise an event: it is serialized once and queued to each subscriber.

        params: a mapping; a list or tuple (the values of the event's fields when it has some, else a JSON array); JSON
        text of an object or array, as MI takes it; None for no parameters. call_id, or the Call-ID of sip_message, is
        the key for sockets with key=callid. report gets each subscriber's DeliveryReport, on the report thread.

        Returns the subscribers it was queued for, 0 without any, -1 when queueing failed for one (it is still queued
        for the others). Raises EventError for an unknown event, SerializeError, SerializeTypeError, Closed.
        """
        if self._closed:
            self._check_open()
        event = event_or_name if isinstance(event_or_name, Event) else self._event(event_or_name)
        pairs = None
        if isinstance(params, str):
            params, pairs = _parsed(params)
        if report is not None and not callable(report):
            raise TypeError(f"report must be callable, not {type(report).__name__}")
        return event.raise_one(params, pairs, call_id, sip_message, report)

    def raise_many(
        self,
        event_or_name: Event | str,
        rows: Iterable[Sequence[object] | dict[str, object]],
        *,
        call_ids: Iterable[str | bytes | None] | None = None,
    ) -> int:
        """Raise an event once per row; rows as params of raise_event, call_ids one for each.

        Returns the records queued: rows times subscribers when all went well. Raises as raise_event, and for a bad row
        SerializeError or SerializeTypeError with `.queued`: rows before it are queued, those from it on are not.
        """
        if self._closed:
            self._check_open()
        return self._event(event_or_name).raise_many(rows, call_ids)

    def events_list(self) -> dict[str, Any]:
        """{"Events": [{"name": …, "id": …}, …]}, as OpenSIPS's MI command events_list."""
        with self._changed:
            return {"Events": [{"name": event.name, "id": event.id} for event in self._events.values()]}

    def subscribers_list(self, event: str | None = None, socket: str | KafkaSocket | None = None) -> dict[str, Any]:
        """The subscribers, in the shape of OpenSIPS's MI command subscribers_list.

        Without an event {"Events": […]}, those that have subscribers; with one {"Event": {"name", "id",
        "Subscribers"}}. A subscriber is {"socket", "expire", "ttl"} in seconds, or {"socket", "expire": "never"}.
        socket narrows an event's list to one socket; without properties it stands for any. Raises EventError (404)
        for an unknown event or a socket that is not among its subscribers.
        """
        with self._changed:
            for one in self._events.values():
                self._sweep(one)
            if event is None:
                if socket is not None:
                    raise ValueError("a socket can only be looked up within an event")
                return {
                    "Events": [_listed(one, one.subscriptions) for one in self._events.values() if one.subscriptions]
                }
            found = self._event(event)
            subscriptions = found.subscriptions
            if socket is not None:
                parsed = parse_socket(socket) if isinstance(socket, str) else socket
                bare = parsed.to_text() == str(parsed)
                subscriptions = tuple(
                    one for one in subscriptions if one.socket == parsed or (bare and str(one.socket) == str(parsed))
                )
                if not subscriptions:
                    raise EventError("Subscriber does not exist", 404)
            return {"Event": _listed(found, subscriptions)}

    def subscriptions(self) -> list[tuple[str, Subscription]]:
        """Every subscription that is not over, with its event's name."""
        with self._changed:
            for one in self._events.values():
                self._sweep(one)
            return [(one.name, subscription) for one in self._events.values() for subscription in one.subscriptions]

    def flush(self, timeout: float | None = None) -> int:
        """Wait until every record has its report, `timeout` seconds at most; the records still without."""
        self._check_open()
        return self._pool.flush(checked_timeout(timeout, "timeout"))

    def close(self, timeout: float | None = CLOSE_TIMEOUT) -> int:
        """Flush for at most `timeout` seconds, then give up what is left; the records not delivered in time.

        Closing again does nothing and returns 0. Raises Error inside a report's callable.
        """
        timeout = checked_timeout(timeout, "timeout")
        self._pool.not_in_callback("close()")
        with self._changed:
            if self._closed:
                return 0
            self._closed = True
            self._changed.notify_all()
        return self._pool.close(timeout)

    def stats(self) -> EventStats:
        """The counters since the interface was made."""
        totals, each = self._pool.counts()
        counts = {name: totals.get(name, 0) for name in ("queued", "delivered", "failed", "dropped", "rejected")}
        return EventStats(
            raised=self._raised_before + sum(event.raised for event in self._events.values()),
            in_flight=totals.get("in_flight", 0),
            errors=totals.get("errors", {}),
            producers=each,
            **counts,
        )

    def __enter__(self) -> EventInterface:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        leave(self.close, kind, "EventInterface")


def _expire(interface: ref[EventInterface], changed: threading.Condition) -> None:
    """The expiry thread: sleeps until the next subscription expires; it does not keep the interface alive."""
    with changed:
        while (one := interface()) is not None and not one._closed:
            wait = one._sweep_all()
            del one
            changed.wait(None if wait is None else min(wait, threading.TIMEOUT_MAX))


def _listed(event: Event, subscriptions: tuple[Subscription, ...]) -> dict[str, Any]:
    return {
        "name": event.name,
        "id": event.id,
        "Subscribers": [
            {"socket": str(one.socket), "expire": "never"}
            if one.ttl is None
            else {"socket": str(one.socket), "expire": one.expire, "ttl": round(one.ttl)}
            for one in subscriptions
        ],
    }


class _Pairs(list[tuple[str, Any]]):
    """A JSON object's members: a name may stand twice, as in OpenSIPS."""


def _parsed(text: str) -> tuple[Any, list[tuple[str, Any]] | None]:
    """JSON text as (params, params_pairs)."""
    value = json.loads(text, object_pairs_hook=_Pairs)
    if isinstance(value, _Pairs):
        return None, [(name, _plain(inner)) for name, inner in value]
    if isinstance(value, list):
        return [_plain(inner) for inner in value], None
    raise ValueError("params must be a JSON object or array")


def _plain(value: Any) -> Any:
    if isinstance(value, _Pairs):
        return {name: _plain(inner) for name, inner in value}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value
