"""The bridge's life in bounded time: whatever hangs, it ends, says what hung, and healthz names the input before."""

import os
import signal
import socket
import threading
import time

import pytest

from pykafkaevt.bridge import commands, daemon, progress, routing
from pykafkaevt.bridge.config import BridgeConfig, Input, parse_input
from pykafkaevt.bridge.daemon import Bridge
from pykafkaevt.bridge.progress import Progress
from pykafkaevt.errors import Closed, ConfigError, DeliveryError, EventError
from pykafkaevt.sockets import parse_socket

PATIENCE = 20  # seconds for what takes milliseconds
TARGET = parse_socket("kafka:embedded/life")


class FakeIngest:
    """As the compiled one, with a receive loop that the test steers."""

    made = None  # all of a test

    def __init__(self, kind, url, routes, **options):
        self.url = url
        self.turns = 0
        self.waiting = False
        self.stopped = threading.Event()
        self.hanging = threading.Event()  # the loop stands still, whatever is asked of it
        self.released = threading.Event()
        self.error = None
        self.reason = None
        self.report = ()
        self.events = {}
        FakeIngest.made.append(self)

    def receive(self, fd):
        while not self.stopped.is_set():
            self.turns += 1
            if self.hanging.is_set():
                self.released.wait(PATIENCE)
            if self.error is not None:
                raise self.error
            time.sleep(0.01)

    def progress(self):
        return self.turns, self.waiting

    def feed(self, data, source="", *, on_report=None):
        if self.hanging.is_set():
            self.released.wait(PATIENCE)
        for error in self.report:
            on_report(error)
        return self.reason

    def stop(self):
        self.stopped.set()

    abort = stop

    def set_routes(self, routes):
        pass

    def set_access(self, access):
        pass

    def uses(self, routes):
        return False

    def counts(self):
        return {**dict.fromkeys(routing.COUNTS, 0), "reasons": {}, "events": self.events}

    def samples(self):
        return []

    def newest_refused(self):
        return None

    def last_events(self):
        return []


def udp():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        return parse_input(f"udp://127.0.0.1:{free.getsockname()[1]}")


@pytest.fixture
def run(monkeypatch):
    """run(while_running, **options): the ended bridge, its exit code, and the seconds from the first SIGTERM to it."""
    monkeypatch.setattr(routing, "Ingest", FakeIngest)
    monkeypatch.setattr(daemon, "TICK", 0.05)
    FakeIngest.made = []
    asked = []
    # of a signal that comes when the bridge has ended
    before = signal.signal(signal.SIGTERM, lambda *_: None)

    def start(while_running, *, reread=None, signals=(0,), **options):
        config = BridgeConfig(**{"inputs": (udp(),), "to": TARGET, "drain": 0.2, **options})
        bridge = Bridge(config, reread)
        failed = []

        def steer():
            while getattr(bridge, "commands", None) is None or bridge.commands.phase == "starting":
                time.sleep(0.005)
            try:
                while_running(bridge)
            except BaseException as error:
                failed.append(error)
            for pause in signals:
                time.sleep(pause)
                asked.append(time.monotonic())
                os.kill(os.getpid(), signal.SIGTERM)

        thread = threading.Thread(target=steer)
        thread.start()
        try:
            code = bridge.run()
            seconds = time.monotonic() - asked[0] if asked else 0
        finally:
            for ingest in FakeIngest.made:
                ingest.released.set()
            thread.join(PATIENCE)
        assert not failed, failed
        return bridge, code, seconds

    yield start
    signal.signal(signal.SIGTERM, before)


def test_nothing_hangs_and_the_end_is_at_once(run, caplog):
    bridge, code, seconds = run(lambda bridge: None)
    assert (code, bridge.living) == (0, [])
    assert seconds < 1
    assert "did not end in time" not in caplog.text


def hang_receiver(bridge):
    bridge.receivers.threads[0].ingest.hanging.set()


def hang_clients(bridge):
    bridge.routing.close = lambda timeout: time.sleep(5)


def hang_figures(bridge):
    bridge.routing.totals = lambda: time.sleep(5)


def hang_reload(bridge):
    entered = threading.Event()
    bridge.commands.reload = lambda: entered.set() or time.sleep(5)
    os.kill(os.getpid(), signal.SIGHUP)
    assert entered.wait(PATIENCE)


def hang_lock(bridge):
    locked = threading.Event()

    def hold():
        with bridge.routing.changing:
            locked.set()
            time.sleep(4)

    threading.Thread(target=hold, daemon=True).start()
    assert locked.wait(PATIENCE)
    time.sleep(0.2)


def hang_mi(bridge):
    bridge.commands.mi.hanging.set()
    bridge.control.calls.callers.submit(bridge.commands.raise_event, "E")
    time.sleep(0.1)


HANGING = [
    (hang_receiver, "pykafkaevt udp:"),
    (hang_clients, "pykafkaevt closing of clients"),
    (hang_figures, "pykafkaevt last figures"),
    (hang_reload, "pykafkaevt upkeep"),
    (hang_lock, "pykafkaevt upkeep"),
    (hang_mi, "pykafkaevt control call"),
]


@pytest.mark.parametrize(("hang", "name"), HANGING)
def test_the_end_comes_whatever_hangs_and_names_it(run, caplog, hang, name):
    bridge, code, seconds = run(hang, drain=0.5)
    assert code == 1
    assert seconds < 0.5 + 2.2
    assert [one for one in bridge.living if one.startswith(name)]
    (record,) = [one for one in caplog.records if "did not end in time" in one.message]
    assert record.threads == bridge.living


@pytest.mark.parametrize(("hang", "name"), HANGING)
def test_a_second_signal_ends_within_a_second_whatever_hangs(run, hang, name):
    bridge, code, seconds = run(hang, drain=600, signals=(0, 0.1))
    assert code == 1
    assert seconds < 0.1 + 1
    assert [one for one in bridge.living if one.startswith(name)]


def test_a_second_signal_fails_what_any_client_holds_those_of_a_reload_and_subscribers_too(run, caplog):
    def hold(bridge):
        for topic in ("old", "new"):
            to = parse_socket(f"kafka:127.0.0.1:1/{topic}?g.client.id={topic}")
            bridge.routing.reconfigure(BridgeConfig(inputs=bridge.config.inputs, to=to, drain=600))
            bridge.routing.targets.all[0].producer.publish(b"1")
        bridge.commands.event_subscribe("E", "kafka:127.0.0.1:1/t")
        ((_, subscription),) = bridge.routing.interface.subscriptions()
        subscription.producer.publish(b"1")

    bridge, code, seconds = run(hold, signals=(0, 0.1))
    assert (code, bridge.routing.interface.stats().failed) == (1, 1)
    (ended,) = [one for one in caplog.records if one.message == "ended"]
    assert (ended.failed, ended.in_flight, ended.lost) == (2, 0, 3)
    assert seconds < 0.1 + 1


def test_a_client_that_gives_up_its_records_makes_the_code_1(run, caplog):
    def lose(bridge):
        bridge.routing.close = lambda timeout: 3

    _, code, _ = run(lose)
    assert code == 1
    (ended,) = [one for one in caplog.records if one.message == "ended"]
    assert (ended.lost, ended.levelname) == (3, "ERROR")


def test_the_upkeep_that_fails_ends_the_bridge(run, caplog):
    def break_sweep(bridge):
        bridge.routing.sweep = lambda: 1 / 0
        time.sleep(0.3)

    _, code, _ = run(break_sweep)
    assert code == 1
    assert "ZeroDivisionError" in caplog.text


def test_what_cannot_be_opened_leaves_no_client(monkeypatch):
    closed = []
    monkeypatch.setattr(routing.Routing, "close", lambda self, timeout: closed.append(timeout))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        source = parse_input(f"udp://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(ConfigError, match="Address already in use"):
            Bridge(BridgeConfig(inputs=(source,), to=TARGET)).run()
    assert closed == [0]


# healthz


def until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_receiver_that_does_not_move_is_a_fault_that_names_the_input_until_it_moves(run, monkeypatch, caplog):
    monkeypatch.setattr(progress, "STUCK", 0.3)

    def watch(bridge):
        (receiver,) = bridge.receivers.threads
        time.sleep(0.6)
        assert bridge.commands.faults() == []
        receiver.ingest.hanging.set()
        until(bridge.commands.faults)
        assert bridge.commands.faults() == [f"{receiver.ingest.url}: a receiving thread does not move"]
        until(lambda: "does not move" in caplog.text)
        time.sleep(0.2)
        receiver.ingest.hanging.clear()
        receiver.ingest.released.set()
        until(lambda: not bridge.commands.faults())

    _, code, _ = run(watch)
    assert code == 0
    assert caplog.text.count("does not move") == 1


def test_a_receiver_that_waits_for_a_queue_is_none(run, monkeypatch):
    monkeypatch.setattr(progress, "STUCK", 0.2)

    def watch(bridge):
        (receiver,) = bridge.receivers.threads
        receiver.ingest.waiting = True
        receiver.ingest.hanging.set()
        time.sleep(0.6)
        assert bridge.commands.faults() == []
        receiver.ingest.released.set()

    assert run(watch)[1] == 0


def test_a_receiver_that_failed_is_a_fault_and_ends_the_bridge(run, caplog):
    found = []

    def fail(bridge):
        (receiver,) = bridge.receivers.threads
        receiver.ingest.error = OSError("Bad file descriptor")
        receiver.join(PATIENCE)
        found.extend(bridge.commands.faults())

    bridge, code, _ = run(fail, signals=())
    assert code == 1
    url = bridge.receivers.threads[0].ingest.url
    assert found == [f"{url}: receiving failed: Bad file descriptor"]
    assert caplog.text.count(f"{url}: receiving failed") == 1


def test_a_receiving_thread_that_has_ended_is_a_fault(run):
    def end(bridge):
        (receiver,) = bridge.receivers.threads
        receiver.ingest.stop()
        receiver.join(PATIENCE)
        assert bridge.commands.faults() == [f"{receiver.ingest.url}: a receiving thread has ended"]

    assert run(end)[1] == 0


def test_a_process_that_was_stopped_is_not_stuck(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    moves = Progress(lambda: (7, False))
    assert not moves.is_stuck()
    now[0] += 3600
    assert not moves.is_stuck()
    assert moves.is_stuck()


# MI


@pytest.mark.parametrize(
    ("reason", "code", "text"),
    [
        ("unrouted", 400, "the event was not queued: there is no route for it"),
        ("abandoned", 500, "the event was not queued: the bridge is ending"),
        ("no_memory", 500, "the event was not queued: no memory is left"),
        ("too_large", 400, "invalid message: too_large"),
    ],
)
def test_raise_event_says_the_true_reason(run, reason, code, text):
    def raise_it(bridge):
        assert bridge.commands.raise_event("E", {"n": 1}) == "OK"
        bridge.commands.mi.reason = reason
        with pytest.raises(EventError) as caught:
            bridge.commands.raise_event("E", {"n": 1})
        assert (str(caught.value), caught.value.code) == (text, code)

    run(raise_it)


def test_raise_event_says_why_librdkafka_rejected_the_record(run):
    def raise_it(bridge):
        bridge.commands.mi.report = [None]
        assert bridge.commands.raise_event("E") == "OK"
        bridge.commands.mi.report = [DeliveryError(10, "Broker: Message size too large")]
        with pytest.raises(EventError, match="Message size too large"):
            bridge.commands.raise_event("E")

    run(raise_it)


def test_while_it_drains_nothing_is_raised(run):
    bridge, _, _ = run(lambda bridge: None)
    with pytest.raises(Closed):
        bridge.commands.raise_event("E")


@pytest.mark.parametrize("socket", ["kafka:h", "kafka:h/t?x"])
def test_a_bad_socket_makes_no_event_known(run, socket):
    def subscribe(bridge):
        with pytest.raises(ValueError, match="position"):
            bridge.commands.event_subscribe("E_NEW", socket)
        assert bridge.commands.events_list() == {"Events": []}

    run(subscribe)


def test_a_flood_of_names_does_not_make_the_list_of_events_grow_for_ever(run, monkeypatch):
    monkeypatch.setattr(commands, "KNOWN", 5)

    def flood(bridge):
        bridge.commands.event_subscribe("E_SUBSCRIBED", "kafka:embedded/subscribed")
        ingest = FakeIngest.made[0]
        for n in range(10):
            ingest.events = {"(other)": 1, "E_REAL": n, f"a{n}": 1, f"b{n}": 1}
            listed = {one["name"]: one["id"] for one in bridge.commands.events_list()["Events"]}
            assert len(listed) <= 5
            assert {"E_SUBSCRIBED", "E_REAL", f"a{n}", f"b{n}"} <= set(listed)
            assert len(set(listed.values())) == len(listed)
        # what is counted by name is listed, however much it is
        ingest.events = dict.fromkeys("abcdefgh", 1)
        assert {one["name"] for one in bridge.commands.events_list()["Events"]} == {*"abcdefgh", "E_SUBSCRIBED"}
        for n in range(10):
            bridge.commands.event_subscribe(f"E_ENDED_{n}", "kafka:embedded/ended", 0)
        assert len(bridge.commands.routing.interface.events_list()["Events"]) <= 5

    run(flood)


def test_a_snapshot_has_the_counters_of_each_subscriber(run):
    def look(bridge):
        bridge.commands.event_subscribe("E", "kafka:127.0.0.1:1/t?g.queue.buffering.max.messages=1")
        ((_, subscription),) = bridge.routing.interface.subscriptions()
        subscription.producer.publish(b"1")
        (one,) = bridge.commands.snapshot()["subscribers"]
        assert one == {
            **{"event": "E", "socket": "kafka:127.0.0.1:1/t", "expires_s": None},
            **{"queued": 1, "delivered": 0, "failed": 0, "dropped": 0, "rejected": 0, "in_flight": 1},
        }

    run(look)


def test_a_snapshot_waits_for_no_change_of_routes(run):
    def look(bridge):
        with bridge.routing.changing:
            snapshots = []
            thread = threading.Thread(target=lambda: snapshots.append(bridge.commands.snapshot()))
            thread.start()
            thread.join(PATIENCE)
            assert [one["url"] for one in snapshots[0]["inputs"]] == [bridge.config.inputs[0].url, "mi:"]

    run(look)


def test_inputs_that_end_by_themselves_end_the_bridge(run, tmp_path):
    (tmp_path / "events").write_bytes(b"{}\n")
    bridge, code, _ = run(
        lambda bridge: None,
        inputs=(Input(f"file:{tmp_path / 'events'}", "file", path=tmp_path / "events"),),
    )
    assert (code, bridge.living) == (0, [])
