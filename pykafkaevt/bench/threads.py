"""CPU by thread, of this process or another, from Linux's /proc; empty where there is none."""

from __future__ import annotations

import os
import re
import threading
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

NAME_SIZE = 15  # of the system's names of threads
NUMBER = re.compile(r"[-\s]?\d+$")  # rdk:broker1, rdk:broker-1


class ThreadCpu(NamedTuple):
    """A thread's name and the CPU seconds it has used, in user and kernel mode."""

    name: str
    seconds: float


def name_threads() -> None:
    """Give each Python thread that is started from now on a name in the system too: the first word behind our prefix.

    Python itself does so since 3.14, by all of it.
    """
    start = threading.Thread.start

    def start_named(thread: threading.Thread) -> None:
        start(thread)
        name = thread.name.removeprefix("pykafkaevt ").partition(" ")[0][:NAME_SIZE]
        # it may have ended already
        with suppress(OSError):
            Path(f"/proc/self/task/{thread.native_id}/comm").write_text(name)

    threading.Thread.start = start_named  # type: ignore[method-assign,assignment]


def cpu_by_thread(pid: int | None = None) -> dict[int, ThreadCpu]:
    """Of each thread of a process, by its number; pid: None for this process. The first thread is called main."""
    own = os.getpid() if pid is None else pid
    found = {}
    for task in Path(f"/proc/{own}/task").glob("*"):
        # a thread may end meanwhile
        with suppress(OSError):
            nanoseconds = int((task / "schedstat").read_text().split()[0])
            name = "main" if task.name == str(own) else NUMBER.sub("", (task / "comm").read_text().strip())
            found[int(task.name)] = ThreadCpu(name, nanoseconds / 1e9)
    return found


def spent(before: dict[int, ThreadCpu], after: dict[int, ThreadCpu]) -> dict[str, float]:
    """CPU seconds between two looks by thread name, the greatest first; threads that ended between are not in it."""
    total: dict[str, float] = {}
    for number, (name, seconds) in after.items():
        begun = before[number].seconds if number in before else 0.0
        total[name] = total.get(name, 0.0) + seconds - begun
    return dict(sorted(total.items(), key=lambda item: -item[1]))
