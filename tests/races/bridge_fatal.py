"""`python -m tests.races.bridge_fatal SECONDS RATE FATALS_PER_MINUTE`: the bridge while its client fails over and over.

RATE events/s by UDP, TCP (requests) and HEP at once, some messages that are no events, dead letters on the events'
client, and fatal errors: for that long, and until all of them have happened. SIGTERM while records are under way, and
one more fatal error while it drains. Prints the figures; ends with 1 and the reasons unless every event received was
delivered once or failed with the fatal error.
"""

import http.client
import json
import multiprocessing
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pykafkaevt import EmbeddedBroker
from tests.kafka.broker import free_ports
from tests.races import flow
from tests.races.flow import Answers, Sent
from tests.races.happenings import OUT_OF_ORDER_SEQUENCE_NUMBER
from tests.races.stored import Stored

FATAL = "OUT_OF_ORDER_SEQUENCE_NUMBER"
EVENTS, DEAD = "t", "dead"
TOPICS = {EVENTS: 16, DEAD: 2}
DRAIN_SECONDS = 6
BEYOND_DRAIN = 2.0
START_SECONDS = 30
PUSHED_SECONDS = 1.0  # after which an error that hit no first request is pushed once more
HEALTH_SECONDS = 0.25
ANSWER_SECONDS = 2.0
SENDER_SECONDS = 30  # that the sender may take to end
FATAL_SECONDS = 60  # that the fatal errors may take beyond their time
SLOW_MS = 2000  # the broker's answer, at last: librdkafka has five requests under way, the other records wait
WAITING_SECONDS, WAITING_LIMIT = 0.5, 60  # the records of so much time are in flight at last; what that may take
LAST_ERRORS = 5  # one is fatal when a request of its partition is not the oldest under way
DRAINING = '"message":"draining"'  # in the log
TARGET_FIGURES = ("queued", "delivered", "failed", "dropped", "rejected", "in_flight")


class RunningBridge:
    """The process. figures: its last snapshot; code: its exit code; ending: the seconds from SIGTERM to its end.

    failed_at_last: the records that failed in that time.
    """

    def __init__(self, bootstrap: str, folder: Path) -> None:
        self.udp, self.hep = free_ports(2, socket.SOCK_DGRAM)
        self.tcp, self.http = free_ports(2)
        self.log, self.last = folder / "log", folder / "figures"
        self.figures: dict[str, Any] = {}
        self.code: int | None = None
        self.ending = 0.0
        self.failed_at_last = 0
        config = folder / "bridge.toml"
        urls = [f"udp://127.0.0.1:{self.udp}", f"tcp://127.0.0.1:{self.tcp}", f"hep://127.0.0.1:{self.hep}"]
        config.write_text(
            f'input = {json.dumps(urls)}\nto = "kafka:{bootstrap}/{EVENTS}"\n'
            f'dead_letter = "kafka:{bootstrap}/{DEAD}"\nhttp = "127.0.0.1:{self.http}"\n'
            f'drain = {DRAIN_SECONDS}\nlog_format = "json"\n'
        )
        command = [
            sys.executable,
            "-X",
            "faulthandler",
            "-m",
            "tests.races.bridge_process",
            str(config),
            str(self.last),
        ]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + START_SECONDS
        while not self.lines("ready"):
            alive = self.process.poll() is None and time.monotonic() < deadline
            assert alive, self.log.read_text()
            time.sleep(0.02)

    def lines(self, words: str) -> int:
        """How many lines of the log have these words."""
        return self.log.read_text(errors="replace").count(words)

    def snapshot(self) -> dict[str, Any]:
        """Its figures of now."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/api/snapshot", timeout=ANSWER_SECONDS) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def memory(self) -> int:
        """kB of it that are in memory; 0 when it has ended."""
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return 0
        return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")), 0)

    def wait_for_records(self, enough: Callable[[int], bool]) -> None:
        """Until so many are in flight."""
        deadline = time.monotonic() + WAITING_LIMIT
        while not enough(sum(one["in_flight"] for one in self.snapshot()["targets"])):
            assert time.monotonic() < deadline, self.snapshot()["targets"]
            time.sleep(0.05)

    def end(self, meanwhile: Callable[[], None]) -> None:
        """SIGTERM, meanwhile() when it drains, and wait: AssertionError when it does not end."""
        before = self.snapshot()
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        while not self.lines(DRAINING) and time.monotonic() - started < DRAIN_SECONDS:
            time.sleep(0.01)
        meanwhile()
        try:
            self.code = self.process.wait(DRAIN_SECONDS + 10)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # faulthandler says where it stands
            self.process.wait()
            raise AssertionError(f"no end after SIGTERM:\n{self.log.read_text()[-8000:]}") from None
        self.ending = time.monotonic() - started
        assert self.last.exists(), self.log.read_text()[-8000:]
        self.figures = json.loads(self.last.read_text())
        self.failed_at_last = failed(self.figures) - failed(before)


def failed(snapshot: dict[str, Any]) -> int:
    """The records that failed, of all targets."""
    count: int = sum(one["failed"] for one in snapshot["targets"])
    return count


class Health:
    """Asks /healthz over and over, in a thread. bad: answers that were not ok; slowest: of all, in seconds."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.bad: list[str] = []
        self.asked = 0
        self.slowest = 0.0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        """The thread."""
        while not self.over.wait(HEALTH_SECONDS):
            started = time.monotonic()
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_SECONDS)
            try:
                connection.request("GET", "/healthz")
                answer = connection.getresponse()
                if answer.status != http.client.OK:
                    self.bad.append(answer.read().decode())
            except OSError as error:
                self.bad.append(repr(error))
            finally:
                connection.close()
            self.asked += 1
            self.slowest = max(self.slowest, time.monotonic() - started)

    def stop(self) -> None:
        """Ask no more."""
        self.over.set()
        self.thread.join()


class Fatals:
    """Makes `wanted` fatal errors at a steady rate, in a thread. happened: those that the bridge's client had."""

    def __init__(self, broker: EmbeddedBroker, bridge: RunningBridge, wanted: int, per_minute: float) -> None:
        self.broker = broker
        self.bridge = bridge
        self.wanted = wanted
        self.wait = 60 / per_minute
        self.happened = 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def push(self, count: int = 1) -> None:
        """An error for the next Produce request; it is fatal when that is its partition's oldest under way."""
        self.broker.push_errors("Produce", [OUT_OF_ORDER_SEQUENCE_NUMBER] * count)

    def last(self) -> None:
        """One more for the records that a slow broker makes wait."""
        self.push(LAST_ERRORS)
        self.broker.set_rtt_ms(1, 0)

    def run(self) -> None:
        """The thread."""
        due = time.monotonic() + self.wait / 2
        while self.happened < self.wanted and not self.over.wait(max(0.0, due - time.monotonic())):
            due += self.wait
            before = self.count()
            while self.count() == before and not self.over.is_set():
                self.push()
                until = time.monotonic() + PUSHED_SECONDS
                while self.count() == before and time.monotonic() < until:
                    time.sleep(0.02)
            self.happened = self.count()

    def count(self) -> int:
        """The fatal errors so far."""
        return self.bridge.lines("connected anew after a fatal error")

    def finish(self) -> None:
        """Wait until all have happened, and make no more."""
        self.thread.join(FATAL_SECONDS)
        self.over.set()
        self.thread.join()
        self.broker.push_errors("Produce", [])
        self.happened = self.count()


@dataclass
class Run:
    """What one run left to be judged."""

    sent: Sent
    answers: Answers
    bridge: RunningBridge
    stored: Stored
    health: Health
    fatals: int
    memory: list[int]
    wrong: list[str] = field(default_factory=list)

    def targets(self) -> dict[str, dict[str, Any]]:
        """The targets' figures by topic."""
        return {one["topic"]: one for one in self.bridge.figures["targets"]}

    def inputs(self) -> dict[str, dict[str, Any]]:
        """The inputs' figures by letter."""
        letters = {"udp": "u", "hep": "h", "tcp": "t", "mi:": "m"}
        return {letters[one["url"][:3]]: one for one in self.bridge.figures["inputs"]}


def run(seconds: float, rate: float, per_minute: float, folder: Path) -> Run:
    """Let it go on for so long, and until the fatal errors of that time have happened."""
    context = multiprocessing.get_context("spawn")
    with EmbeddedBroker(topics=TOPICS) as broker:
        bridge = RunningBridge(broker.bootstrap_servers, folder)
        try:
            stored = Stored(broker.bootstrap_servers, list(TOPICS))
            here, there = context.Pipe()
            arguments = (bridge.udp, bridge.hep, bridge.tcp, rate, there)
            sender = context.Process(target=flow.run, args=arguments, daemon=True)
            sender.start()
            received(here, START_SECONDS)
            health = Health(bridge.http)
            fatals = Fatals(broker, bridge, round(seconds * per_minute / 60), per_minute)
            memory = []
            for _ in range(4):
                time.sleep(seconds / 4)
                memory.append(bridge.memory())
            fatals.finish()
            # the newest instance has caught up; then more records wait than its requests under way hold
            bridge.wait_for_records(lambda count: count < rate * WAITING_SECONDS / 2)
            broker.set_rtt_ms(1, SLOW_MS)
            bridge.wait_for_records(lambda count: count > rate * WAITING_SECONDS)
            here.send(None)
            sent = received(here, SENDER_SECONDS)
            health.stop()
            bridge.end(fatals.last)
            answers, wrong = received(here, flow.ENDING_SECONDS)
            sender.join()
            stored.finish()
            return Run(sent, answers, bridge, stored, health, fatals.happened, memory, wrong)
        finally:
            if bridge.process.poll() is None:
                bridge.process.kill()
                bridge.process.wait()


def received(connection: Connection, seconds: float) -> Any:
    """What the sender says; AssertionError when it says nothing."""
    assert connection.poll(seconds), "the sender says nothing"
    return connection.recv()


# The account


def mistakes(run: Run) -> list[str]:
    """What is wrong with a run; [] when nothing is."""
    return [*run.wrong, *of_life(run), *of_inputs(run), *of_targets(run), *of_answers(run)]


def of_life(run: Run) -> list[str]:
    """What is wrong with how the bridge lived and ended."""
    found = [f"healthz: {text}" for text in run.health.bad[:3]]
    bridge = run.bridge
    if bridge.code != int(failed(bridge.figures) > 0):
        found.append(f"the bridge ended with {bridge.code}; {failed(bridge.figures)} records failed")
    if bridge.ending > DRAIN_SECONDS + BEYOND_DRAIN or bridge.figures["living"]:
        found.append(f"it took {bridge.ending:.1f} s to end; its threads {bridge.figures['living']} did not")
    if bridge.lines("Traceback"):
        found.append(bridge.log.read_text()[-4000:])
    if run.stored.missed or run.stored.strange:
        found.append(f"not read: {run.stored.missed} records; strange ones: {run.stored.strange[:3]}")
    return found


def of_inputs(run: Run) -> list[str]:
    """Each message sent was received or dropped by the kernel; each received is an event queued, or invalid."""
    found = []
    for letter, one in run.inputs().items():
        sent, bad = (run.sent.messages.get(name, 0) for name in (letter, letter.upper()))
        # of a connection the bridge may leave unread what comes after the SIGTERM: that has no answer
        answered = len(run.answers.ok) + len(run.answers.errors)
        expected = answered if letter == "t" else sent + bad - one["kernel_drops"]
        if one["received"] != expected or one["received"] != one["queued"] + one["invalid"] or one["unrouted"]:
            found.append(f"{sent} events and {bad} others were sent, {expected} received: {one}")
        if one["invalid"] > bad:
            found.append(f"{bad} messages were no events: {one}")
    if set(run.bridge.figures["invalid"]) - {"no_method", "hep_not_hep"}:
        found.append(f"invalid: {run.bridge.figures['invalid']}")
    return found


def of_targets(run: Run) -> list[str]:
    """Each event queued was delivered and stands once in the topic, or failed with the fatal error.

    A request that had arrived when the fatal error came has lost its acknowledgement: its records failed and may stand
    in the topic, once. So a topic holds the records delivered, and at most those that failed too.
    """
    found = []
    inputs = run.inputs().values()
    due = {EVENTS: sum(one["queued"] for one in inputs), DEAD: sum(one["invalid"] for one in inputs)}
    for topic, one in run.targets().items():
        figures = {name: one[name] for name in TARGET_FIGURES}
        held, twice, letters = run.stored.count(topic), run.stored.twice(topic), set(run.stored.seen[topic])
        if one["queued"] + one["dropped"] != due[topic] or (topic == EVENTS and one["dropped"]):
            found.append(f"{due[topic]} records are due for {topic}: {figures}")
        if one["queued"] != one["delivered"] + one["failed"] or one["in_flight"] or one["rejected"]:
            found.append(f"{topic}: queued is not delivered + failed, or some were rejected: {figures}")
        if one["errors"] != ({FATAL: one["failed"]} if one["failed"] else {}):
            found.append(f"{topic}: {one['failed']} failed, by reason {one['errors']}")
        if not one["delivered"] <= held <= one["queued"] or twice:
            found.append(f"{topic} holds {held} records, {len(twice)} of them twice, as {twice[:3]}: {figures}")
        if letters - set("uht" if topic == EVENTS else "UHT"):
            found.append(f"{topic} holds records of {letters}")
    return found


def of_answers(run: Run) -> list[str]:
    """OK was answered for what stands in the topic, the fatal error or the reason of an invalid message otherwise."""
    found = []
    answers = Counter([*run.answers.ok, *run.answers.errors])
    if twice := [value for value, count in answers.items() if count > 1]:
        found.append(f"{len(twice)} requests were answered twice, as {twice[:3]}")
    stored = run.stored.values(EVENTS, "t")
    if lost := set(run.answers.ok) - stored:
        found.append(f"{len(lost)} requests were answered with OK and are not in the topic, as {sorted(lost)[:3]}")
    if unsaid := stored - answers.keys():
        found.append(f"{len(unsaid)} requests are in the topic without an answer, as {sorted(unsaid)[:3]}")
    strange = {
        text
        for value, text in run.answers.errors.items()
        if not ("out of order sequence" in text.lower() if value[0] == "t" else text == "invalid message: no_method")
    }
    if strange:
        found.append(f"errors that were answered: {sorted(strange)[:5]}")
    return found


def figures(run: Run) -> str:
    """The account in words."""
    sent, seconds = sum(run.sent.messages.values()), run.sent.seconds
    events, dead = (run.targets()[topic] for topic in (EVENTS, DEAD))
    health, bridge = run.health, run.bridge
    inputs = run.inputs()
    received = sum(one["received"] for one in inputs.values())
    drops = sum(one["kernel_drops"] for one in inputs.values())
    stored = run.stored.count(EVENTS)
    failed_requests = sum(value[0] == "t" for value in run.answers.errors)
    return "\n".join(
        (
            f"sent        {sent} messages in {seconds:.1f} s, {sent / seconds:.0f}/s: {run.sent.messages}",
            f"received    {received}, the kernel dropped {drops}; invalid: {bridge.figures['invalid']}",
            f"fatal       {run.fatals} errors; {bridge.failed_at_last} records failed by one more while it drained",
            f"events      {json.dumps({name: events[name] for name in TARGET_FIGURES})} {json.dumps(events['errors'])}",
            f"            {stored} in the topic, {stored - events['delivered']} of them failed: acknowledgement lost",
            f"dead        {json.dumps({name: dead[name] for name in TARGET_FIGURES})} {json.dumps(dead['errors'])}",
            f"requests    {len(run.answers.ok)} answered OK, {failed_requests} with the fatal error",
            f"healthz     {health.asked} times asked, {len(health.bad)} not ok, {health.slowest:.2f} s at most",
            f"latency     p50 {events['latency_p50_us'] / 1000:.1f} ms, p99 {events['latency_p99_us'] / 1000:.1f} ms",
            f"memory      {', '.join(str(kb // 1024) for kb in run.memory)} MB after each quarter",
            f"end         {bridge.ending:.1f} s after SIGTERM (--drain {DRAIN_SECONDS}), exit code {bridge.code}",
        )
    )


def main() -> int:
    """See above."""
    seconds, rate, per_minute = (float(text) for text in sys.argv[1:])
    # as Ctrl-C: no process is left
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="bridge-fatal-") as name:
        done = run(seconds, rate, per_minute, Path(name))
        print(figures(done), flush=True)
        found = mistakes(done)
    for wrong in found:
        print(f"WRONG: {wrong}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
