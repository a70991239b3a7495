"""The bridge's life: it opens, runs, and drains in bounded time, whatever hangs."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any, Final

from sdnotify import SystemdNotifier  # type: ignore[import-untyped]

from pykafkaevt.bridge.commands import Commands
from pykafkaevt.bridge.config import BridgeConfig
from pykafkaevt.bridge.control import Control
from pykafkaevt.bridge.receivers import Receivers
from pykafkaevt.bridge.routing import Routing
from pykafkaevt.bridge.streams import Streams
from pykafkaevt.errors import Error
from pykafkaevt.log_rate import LogRate

logger = logging.getLogger("pykafkaevt.bridge")

notify = SystemdNotifier().notify  # systemd's states, sd_notify(3); nothing without systemd
TICK: Final = 0.5  # seconds between two looks at samples, subscribers and retired targets
SLICE: Final = 0.05  # seconds in which a signal is seen
REFUSED: Final = (1, 10.0)  # lines about senders of an input that may not send: at once, and seconds until one more
DROPS: Final = (1, 5.0)  # lines about the kernel's drops: at once, and seconds until one more
SAMPLES: Final = (16, 0.5)  # the same of an input's invalid messages
SAMPLE: Final = ("reason", "source", "size", "excerpt")

# seconds of the end
SETTLING: Final = 0.3  # in which what TCP peers have sent is read
ABORTING: Final = 0.5  # that a receiving thread may take to end when it waits for no queue any more
CLOSING: Final = 1.0  # that clients may take beyond their time
ANSWERING: Final = 1.0  # that the last answers to TCP peers may take
COUNTING: Final = 0.2  # that the last figures may take in any case
OVERTIME: Final = 1.5  # beyond --drain, after which the bridge waits for nothing any more
GIVING_UP: Final = 0.6  # the same after a second signal
LEAVING: Final = 0.1  # that threads with nothing left to do may take in any case


class Step(threading.Thread):
    """Work that may hang, in a thread that nobody has to wait for. result: what it returned, None until then."""

    def __init__(self, name: str, work: Callable[[], Any]) -> None:
        super().__init__(name=f"pykafkaevt {name}", daemon=True)
        self.work = work
        self.result: Any = None

    def run(self) -> None:
        """Do the work; an error is logged."""
        try:
            self.result = self.work()
        except Exception:
            logger.exception("%s failed", self.name)


class Bridge:
    """The daemon. config: what to run; reread: reads the configuration anew for a reload, None when there is no file.

    Made, it holds nothing; run() binds the inputs and blocks until SIGTERM, SIGINT or stop(), or until inputs that
    end by themselves have ended. living: after run(), the names of its threads that did not end in time.
    """

    def __init__(self, config: BridgeConfig, reread: Callable[[], BridgeConfig] | None = None) -> None:
        self.config = config
        self.reread = reread
        self.living: list[str] = []
        self.steps: list[Step] = []
        # the signal handler sets these and nothing else: it must take no lock that its own thread may hold
        self.ends_asked = 0
        self.reload_asked = False
        self.wake = threading.Event()  # for the thread of the upkeep
        self.failed = False  # the upkeep did
        self.given_up = False
        self.limit = float("inf")  # time.monotonic() after which nothing is waited for
        self.drops = 0  # of the kernel, as logged
        self.drops_rate = LogRate(*DROPS)
        self.refused_rates: dict[str, LogRate] = {}
        self.sample_rates: dict[str, LogRate] = {}
        self.faults: list[str] = []  # as logged

    def run(self) -> int:
        """Run to the end. 0 when every record was delivered, else 1. Raises ConfigError before anything runs."""
        with ExitStack() as stack:
            self.routing = Routing(self.config)
            try:
                self.open(stack)
            except BaseException:
                self.routing.close(0)
                raise
            self.receivers.start()
            self.upkeep = self.begin("upkeep", self.keep_up)
            self.commands.phase = "receiving"
            notify("READY=1")
            logger.info(
                "ready", extra={"inputs": [one.url for one in self.config.inputs], "to": str(self.config.default)}
            )
            while not self.ends_asked and not self.streams.finished.is_set():
                time.sleep(SLICE)
                if self.reload_asked:
                    self.wake.set()
            return self.drain()

    def open(self, stack: ExitStack) -> None:
        """Open inputs and control, and have signals handled. Raises ConfigError."""
        self.receivers = Receivers(self.config, self.routing.make_ingest, self.stop, stack)
        self.streams = Streams(
            self.config.inputs,
            self.routing.make_ingest,
            method=self.config.method,
            speed=self.config.speed,
            max_size=self.config.max_size,
            admission=self.routing.admission,
        )
        self.commands = Commands(self.routing, self.receivers, self.streams, self.reread)
        self.control = Control(self.commands, self.config.control, self.config.http, self.config.http_token)
        self.control.start()
        stack.callback(self.control.stop)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            stack.callback(signal.signal, number, signal.signal(number, self.on_signal))
        self.streams.start()

    def begin(self, name: str, work: Callable[[], Any]) -> Step:
        """Start work that may hang."""
        step = Step(name, work)
        self.steps.append(step)
        step.start()
        return step

    def on_signal(self, number: int, _frame: object) -> None:
        """SIGHUP reloads; SIGTERM and SIGINT drain, the second of them gives up."""
        if number == signal.SIGHUP:
            self.reload_asked = True
        else:
            self.ends_asked += 1

    def stop(self) -> None:
        """End run(): from any thread."""
        self.ends_asked = max(1, self.ends_asked)

    # Upkeep

    def keep_up(self) -> None:
        """What is done beside receiving, until the end is asked for; the thread that systemd's watchdog hears."""
        figures_due = time.monotonic() + self.config.stats_interval
        try:
            while self.commands.phase != "draining":
                self.wake.wait(TICK)
                self.wake.clear()
                if self.reload_asked:
                    self.reload_asked = False
                    self.reload()
                self.tick()
                notify("WATCHDOG=1")
                if self.config.stats_interval and time.monotonic() >= figures_due:
                    figures_due += self.config.stats_interval
                    logger.info("figures", extra=self.routing.totals())
        except BaseException:
            self.failed = True
            self.stop()
            raise

    def reload(self) -> None:
        """The reload that SIGHUP asks for, its failure in the log."""
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            self.commands.reload()
        except Error as error:
            logger.error("the configuration stays as it was: %s", error)
        notify("READY=1")

    def tick(self) -> None:
        """Log what happened since the last call, and close what is not used any more."""
        self.log_samples()
        self.log_refused()
        self.log_drops()
        self.log_faults()
        self.routing.sweep()

    def log_samples(self) -> None:
        """Some of the messages that were invalid since the last call."""
        for ingest in self.routing.all_ingests():
            rate = self.sample_rates.setdefault(ingest.url, LogRate(*SAMPLES))
            for sample in ingest.samples():
                if rate.allows():
                    extra = {name: sample[name] for name in SAMPLE} | rate.note()
                    logger.warning("%s: invalid message", ingest.url, extra=extra)

    def log_refused(self) -> None:
        """Senders whose address may not send, one of them since the last call."""
        for ingest in self.routing.all_ingests():
            source = ingest.newest_refused()
            rate = self.refused_rates.setdefault(ingest.url, LogRate(*REFUSED))
            if source is not None and rate.allows():
                extra = {"source": source, "refused": ingest.counts()["refused"], **rate.note()}
                logger.warning("%s: a sender that allow does not name was refused", ingest.url, extra=extra)

    def log_drops(self) -> None:
        """What the kernel dropped since the last such line."""
        drops: Counter[str] = Counter()
        for ingest in self.routing.all_ingests():
            drops[ingest.url] += ingest.counts()["kernel_drops"]
        if drops.total() > self.drops and self.drops_rate.allows():
            self.drops = drops.total()
            logger.warning("the kernel dropped datagrams: a receive buffer was full", extra={"kernel_drops": +drops})

    def log_faults(self) -> None:
        """Inputs that do not work any more, each once as long as it does not."""
        faults = self.commands.faults()
        for fault in faults:
            if fault not in self.faults:
                logger.critical("%s", fault)
        self.faults = faults

    # The end

    def drain(self) -> int:
        """Receive what the kernel holds, deliver what is queued, within the time there is; say what was not.

        Half of the time is for receiving, so that a sender that never pauses leaves some for the acknowledgements.
        """
        seconds = self.routing.config.drain
        now = time.monotonic()
        end, self.limit = now + seconds, now + seconds + OVERTIME
        self.commands.phase = "draining"
        notify("STOPPING=1")
        logger.info("draining", extra={"seconds": seconds})
        self.wake.set()
        self.streams.stop()
        self.receivers.stop()
        self.wait([*self.receivers.threads, *self.streams.readers], now + seconds / 2)
        if self.streams.listeners:
            self.pause(SETTLING)
        self.routing.abort()
        self.wait([self.upkeep, *self.receivers.threads], time.monotonic() + ABORTING)
        self.log_faults()
        left = self.left(end)
        closing = self.begin("closing of clients", lambda: self.routing.close(left))
        self.wait([closing], end + CLOSING)
        self.wait(self.streams.threads, time.monotonic() + ANSWERING)
        self.streams.give_up()
        counting = self.begin("last figures", self.last_figures)
        counting.join(COUNTING)
        self.control.stop(max(LEAVING, self.left(self.limit)))
        self.living = self.threads_left()
        return self.say_the_end(counting.result or {}, closing.result)

    def last_figures(self) -> dict[str, int]:
        """Log the last samples; the counters."""
        self.log_samples()
        return self.routing.totals()

    def say_the_end(self, totals: dict[str, int], lost: int | None) -> int:
        """Log the figures and what still runs; the exit code by them. lost: None when a client does not close."""
        if self.living:
            logger.error("these threads did not end in time", extra={"threads": self.living})
        if lost is None:
            lost = totals.get("in_flight", 0)
        failed_inputs = self.streams.failed is not None or any(one.failed for one in self.receivers.threads)
        failed = bool(self.living or lost or totals.get("failed", 1) or failed_inputs or self.failed)
        logger.log(logging.ERROR if failed else logging.INFO, "ended", extra={**totals, "lost": lost})
        return int(failed)

    def threads_left(self) -> list[str]:
        """The names of the bridge's threads that still run."""
        threads = [*self.receivers.threads, *self.streams.threads, *self.control.threads(), *self.steps]
        until = time.monotonic() + LEAVING
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        return [one.name for one in threads if one.is_alive()]

    def wait(self, threads: Iterable[threading.Thread], until: float) -> None:
        """Wait for threads to end, until that time.monotonic(); a second signal cuts it short."""
        for thread in threads:
            while thread.is_alive() and (left := self.left(until)):
                thread.join(min(left, SLICE))

    def pause(self, seconds: float) -> None:
        """Sleep, cut short by a second signal."""
        until = time.monotonic() + seconds
        while left := self.left(until):
            time.sleep(min(left, SLICE))

    def left(self, until: float) -> float:
        """Seconds until a time.monotonic() and until the limit of the end, at least 0."""
        if self.ends_asked > 1 and not self.given_up:
            self.give_up()
        return max(0.0, min(until, self.limit) - time.monotonic())

    def give_up(self) -> None:
        """Fail at once what is not acknowledged, and end soon whatever hangs."""
        self.given_up = True
        self.limit = min(self.limit, time.monotonic() + GIVING_UP)
        self.routing.abort()
        self.streams.give_up()
        self.begin("giving up", self.routing.give_up)
