"""What happens to the client meanwhile."""

import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pykafkaevt import Error
from tests.races.bridge import BEYOND_DRAIN, OneBridge
from tests.races.process import fork
from tests.races.subjects import Subject
from tests.races.world import World

OUT_OF_ORDER_SEQUENCE_NUMBER = 45  # on the oldest Produce request under way: fatal for an idempotent producer
CLUSTER_AUTHORIZATION_FAILED = 31  # on InitProducerId: fatal while it connects
SMALL_QUEUE = "&g.queue.buffering.max.messages=30"
SLOW_MS = 15
PLUGIN = "&g.plugin.library.paths="


@dataclass(frozen=True)
class Happening:
    """happen(world, subject, random, seconds): takes that long. before(world, random): before the turn opens anything.

    properties: of every socket. whole: no record fails by it. retried: librdkafka may send a record again that arrived.
    raises: what a call may raise besides Closed. closes: whether calls may raise Closed.
    """

    happen: Callable[[World, Any, random.Random, float], None]
    before: Callable[[World, random.Random], None] = lambda world, random: None
    properties: str = ""
    whole: bool = True
    retried: bool = False
    raises: tuple[type[Exception], ...] = ()
    closes: bool = False


def pauses(random: random.Random, seconds: float, longest: float) -> Iterator[None]:
    """Runs the loop's body after each of several random pauses, for `seconds` in all."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, random.random() * longest))
        yield


def fatal_at_first(world: World, random: random.Random) -> None:
    if random.random() < 0.5:
        world.broker("push_errors", "InitProducerId", [CLUSTER_AUTHORIZATION_FAILED])


def fatal(world: World, subject: Subject, random: random.Random, seconds: float) -> None:
    for _ in pauses(random, seconds, 0.15):
        world.broker("push_errors", "Produce", [OUT_OF_ORDER_SEQUENCE_NUMBER])
        if random.random() < 0.3:  # and once more while it is opened anew
            world.broker("push_errors", "InitProducerId", [CLUSTER_AUTHORIZATION_FAILED])


def away(world: World, subject: Subject, random: random.Random, seconds: float) -> None:
    for _ in pauses(random, seconds, 0.1):
        world.broker("set_down", 1)
        time.sleep(random.random() * 0.1)
        world.broker("set_up", 1)


def slow(world: World, random: random.Random) -> None:
    world.broker("set_rtt_ms", 1, SLOW_MS)


def slow_and_fatal(world: World, random: random.Random) -> None:
    slow(world, random)
    fatal_at_first(world, random)


def nothing(world: World, subject: Subject, random: random.Random, seconds: float) -> None:
    time.sleep(seconds)


def closed(world: World, subject: Subject, random: random.Random, seconds: float) -> None:
    time.sleep(seconds * random.random())
    timeout = random.choice((0.0, 0.1, 1.0))
    started = time.monotonic()
    subject.close(timeout)
    took = time.monotonic() - started
    if not isinstance(subject, OneBridge) and took > timeout + 1:
        raise AssertionError(f"close({timeout}) took {took:.1f} s")
    time.sleep(0.05)


def retired(world: World, subject: Subject, random: random.Random, seconds: float) -> None:
    for _ in pauses(random, seconds, 0.1):
        subject.retire()


def unusable(world: World, subject: Subject, random: random.Random, seconds: float) -> None:
    for _ in pauses(random, seconds, 0.1):
        world.flag.touch()
        world.broker("push_errors", "Produce", [OUT_OF_ORDER_SEQUENCE_NUMBER])
        time.sleep(random.random() * 0.2)
        world.flag.unlink()


def forked(world: World, subject: Subject, random: random.Random, seconds: float) -> None:
    for number, _ in enumerate(pauses(random, seconds, 0.1)):
        fork(subject, f"child{time.monotonic_ns()}.{number}")


def exits(world: World, subject: Subject, random: random.Random, seconds: float) -> None:
    """The main thread returns by itself (actor.py); of the bridge a second SIGTERM is the end without waiting."""
    time.sleep(seconds * random.random())
    if isinstance(subject, OneBridge):
        subject.account.whole = False
        subject.terminate()
        time.sleep(random.random() * 0.3)
        subject.end(signal.SIGTERM, BEYOND_DRAIN)


HAPPENINGS = {
    "fatal": Happening(fatal, fatal_at_first, whole=False),
    "away": Happening(away, retried=True),
    "full": Happening(nothing, slow, SMALL_QUEUE),
    "full_fatal": Happening(fatal, slow_and_fatal, SMALL_QUEUE, whole=False),
    "closed": Happening(closed, whole=False, closes=True),
    "retired": Happening(retired),
    "unusable": Happening(unusable, fatal_at_first, PLUGIN, whole=False, raises=(Error,)),
    "forked": Happening(forked),
    "exit": Happening(exits, closes=True),
}
