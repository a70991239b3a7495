"""`python -m tests.races.actor ACTION HAPPENING SECONDS SEED`: the process of a cell that has the client; cell.py
starts it and judges what it tells in the file $RACES_ACCOUNTS: a line of JSON for each turn, ended by "end"."""

import atexit
import faulthandler
import logging
import math
import os
import random
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

ENDING: list[Any] = []
# registered before pykafkaevt registers its own: atexit runs it after that
atexit.register(lambda: [end() for end in ENDING])

from pykafkaevt import Closed  # noqa: E402
from tests.races.actions import ACTIONS, Action, Step  # noqa: E402
from tests.races.bridge import OneBridge  # noqa: E402
from tests.races.happenings import HAPPENINGS, PLUGIN, Happening  # noqa: E402
from tests.races.ledger import Account, Writer  # noqa: E402
from tests.races.process import native_threads  # noqa: E402
from tests.races.subjects import Subject  # noqa: E402
from tests.races.world import Control, World  # noqa: E402

HANG_SECONDS = 35  # a turn that takes longer says where each thread stands, and ends the process
LEAK_SECONDS = 10  # in which threads of what was closed or dropped end
SPARE_THREADS = 4  # that stay: of the log, of expiry, of librdkafka's once for all


class Turn:
    """One opening, acting and closing."""

    def __init__(self, world: World, action: Action, happening: Happening, number: int) -> None:
        self.world = world
        self.action = action
        self.happening = happening
        self.writers = [Writer(f"{number}.{name}") for name in ("main", "beside", "last")]
        self.seeds = [world.random.random() for _ in range(3)]
        self.seconds = 0.3 + 0.6 * world.random.random()  # an idempotent producer connects in up to 0.5 s
        world.over.clear()
        happening.before(world, world.random)
        self.subject: Subject = action.subject(world)
        self.subject.account.whole = world.whole
        self.subject.account.retried = happening.retried
        self.threads = [
            threading.Thread(target=self.act, args=(action.beside, 1), daemon=True),
            threading.Thread(target=self.happen, daemon=True),
        ]

    def run(self) -> None:
        """All of it."""
        for thread in self.threads:
            thread.start()
        self.act(self.action.step, 0)
        for thread in self.threads:
            thread.join()
        self.end()

    def leave(self) -> None:
        """Act for a while and return while the other thread goes on: the interpreter ends, and then exit() runs."""
        ENDING.append(self.exit)
        self.threads = self.threads[:1]
        self.threads[0].start()
        self.act(self.action.step, 0, time.monotonic() + self.seconds)

    def act(self, step: Step, number: int, end: float = math.inf) -> None:
        """Call `step` until the turn is over, or time.monotonic() is `end`."""
        turns = random.Random(self.seeds[number])
        raises = self.happening.raises
        while not self.world.over.is_set() and time.monotonic() < end:
            try:
                step(self.subject, self.writers[number], turns)
            except Closed:
                if not self.world.may_be_closed:
                    self.note()
                elif not self.action.closes:
                    return
            except raises:
                pass
            except Exception:
                self.note()
                return
            time.sleep(turns.random() * 0.002)

    def happen(self) -> None:
        """The thread of what happens meanwhile."""
        try:
            self.happening.happen(self.world, self.subject, random.Random(self.seeds[2]), self.seconds)
        except Exception:
            self.note()
        self.world.over.set()

    def note(self) -> None:
        """An exception that no caller should see."""
        self.subject.account.unexpected.append(traceback.format_exc())

    def end(self) -> None:
        """Heal the broker, count, and tell the account."""
        self.world.heal()
        try:
            self.subject.finish(self.writers[2])
        except Exception:
            self.note()
        self.tell()

    def exit(self) -> None:
        """What atexit does when all clients have ended."""
        self.world.over.set()
        for thread in self.threads:
            thread.join()
        self.tell()

    def tell(self) -> None:
        """The account of the turn."""
        account = self.subject.account
        account.accepted = [value for writer in self.writers for value in writer.accepted]
        account.sent = [value for writer in self.writers for value in writer.all()]
        self.subject.settle()
        self.world.tell(account)


def check_threads(before: int, world: World) -> None:
    """Whatever was closed or dropped has no thread any more."""
    deadline = time.monotonic() + LEAK_SECONDS
    while (now := native_threads()) > before + SPARE_THREADS:
        if time.monotonic() > deadline:
            names = [thread.name for thread in threading.enumerate()]
            world.tell(Account(counted=None, unexpected=[f"{now} threads where there were {before}: {names}"]))
            return
        time.sleep(0.05)


def main() -> None:
    """See above."""
    names, seconds, seed = sys.argv[1:3], float(sys.argv[3]), int(sys.argv[4])
    logging.disable(logging.CRITICAL)
    sys.setswitchinterval(0.0005)
    action, happening = ACTIONS[names[0]], HAPPENINGS[names[1]]
    accounts = Path(os.environ["RACES_ACCOUNTS"])

    def tell(account: Any) -> None:
        # children write to it too: one write a line
        with accounts.open("ab", buffering=0) as file:
            file.write((account.to_json() + "\n").encode())

    control = Control(os.environ["RACES_CONTROL"])
    world = World(os.environ["RACES_BOOTSTRAP"], control, accounts.parent, seed, tell)
    world.properties = happening.properties
    if happening.properties == PLUGIN:
        world.properties += os.environ["RACES_PLUGIN"]
    world.may_be_closed = action.closes or happening.closes
    world.raises = happening.raises
    world.whole = happening.whole and not action.closes
    before = native_threads()
    end = time.monotonic() + seconds
    number = 0
    while number == 0 or time.monotonic() < end:
        faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
        turn = Turn(world, action, happening, number)
        number += 1
        if names[1] == "exit" and action.subject is not OneBridge:
            turn.leave()
            return
        turn.run()
        del turn
    faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
    check_threads(before, world)


if __name__ == "__main__":
    main()
