"""The bench command: small runs on embedded brokers, in the processes it starts itself."""

import json
import os
import stat
import sys
import threading

import confluent_kafka
import pytest
from click.testing import CliRunner

from pykafkaevt import EmbeddedBroker, EventTemplate
from pykafkaevt.bench.ours import ours
from pykafkaevt.bench.peers import PEERS
from pykafkaevt.bench.programs import java_result
from pykafkaevt.bench.runner import Measured, Report, merge, settings_of
from pykafkaevt.bench.schedule import Latencies, quantiles, schedule
from pykafkaevt.bench.threads import ThreadCpu, cpu_by_thread, name_threads, spent
from pykafkaevt.bench.worker import split
from pykafkaevt.bench.workload import EVENT, FIELDS, KEY_SIZE, VALUE_SIZE, as_dict, make
from pykafkaevt.cli.commands import commands
from pykafkaevt.sockets import parse_socket

QUANTILE_NAMES = ["p50", "p90", "p99", "p99.9", "max"]


def run(*arguments):
    return CliRunner().invoke(commands, ["bench", *(str(argument) for argument in arguments)])


def measured(tmp_path, *arguments):
    """The result.json of a run."""
    result = run(*arguments, "--output", tmp_path / "result.json")
    assert result.exit_code == 0, result.output
    return json.loads((tmp_path / "result.json").read_text())


def spec(**changed):
    plain = {
        "side": "ours",
        "socket": "kafka:embedded/bench",
        "settings": settings_of(parse_socket("kafka:embedded/bench")),
        "api": "emit_many",
        "batch": 100,
        "threads": 1,
        "records": 1000,
        "duration": None,
        "throughput": None,
        "reports": "none",
        "warmup": 1,
        "seed": 7,
        "record_size": None,
        "payload_file": None,
    }
    return {**plain, **changed}


# workload


def test_an_event_has_the_size_that_is_said_and_is_the_same_for_the_same_seed():
    ready = make(8, ready=True, seed=3)
    assert {len(value) for value in ready.values} == {VALUE_SIZE}
    assert {len(key) for key in ready.keys} == {KEY_SIZE}
    rows = make(8, ready=False, seed=3).rows
    assert ready.values == [EventTemplate(EVENT, FIELDS).dumps(*row) for row in rows]
    assert [json.loads(value) for value in ready.values] == [as_dict(row) for row in rows]
    assert rows == make(8, ready=False, seed=3).rows != make(8, ready=False, seed=4).rows


def test_random_records_have_their_size_and_print():
    work = make(50, ready=True, seed=1, record_size=120)
    assert {len(value) for value in work.values} == {120}
    assert all(value.decode().isprintable() for value in work.values)
    assert work.keys == [None] * 50


def test_a_payload_file_gives_its_lines(tmp_path):
    (tmp_path / "lines").write_bytes(b"one\r\ntwo\n")
    work = make(5, ready=True, seed=1, payload_file=str(tmp_path / "lines"))
    assert work.values == [b"one", b"two", b"one", b"two", b"one"]


# schedule and latencies


class FakeTime:
    """A clock that sleeping moves, and that can be made to jump."""

    def __init__(self):
        self.now = 100.0

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.mark.parametrize(
    ("total", "seconds", "rate", "sent"),
    [
        pytest.param(25, None, None, [10, 10, 5], id="records, at once"),
        pytest.param(3, None, 100, [1, 1, 1], id="records, at a rate"),
        pytest.param(None, 0.035, 100, [1, 1, 1, 1], id="seconds, at a rate"),
        pytest.param(2, 10, 100, [1, 1], id="records before the seconds"),
    ],
)
def test_a_schedule_ends_after_its_records_or_seconds(total, seconds, rate, sent):
    time = FakeTime()
    chunks = make(10, ready=False, seed=1).chunks(10)
    made = list(schedule(chunks, total, seconds, rate, clock=time.clock, sleep=time.sleep))
    assert [len(chunk.keys) for chunk, _ in made] == sent
    dues = [round(due - 100, 9) for _, dues in made for due in dues or ()]
    assert dues == ([] if rate is None else [n / rate for n in range(sum(sent))])


def test_a_stall_moves_no_intended_time_and_is_made_up_for_in_batches():
    time = FakeTime()
    late = []
    chunks = make(10, ready=False, seed=1).chunks(10)
    for n, (chunk, dues) in enumerate(schedule(chunks, 20, None, 100, clock=time.clock, sleep=time.sleep)):
        assert len(chunk.keys) == len(dues)
        late.append([round(time.now - due, 6) for due in dues])
        if n == 1:
            time.now += 0.055  # the second call hangs
    assert late[:3] == [[0], [0], [0.045, 0.035, 0.025, 0.015, 0.005]]
    assert all(wait == [0] for wait in late[3:])
    assert sum(map(len, late)) == 20


def test_histograms_are_merged_before_their_quantiles_are_taken():
    fast, slow, none = Latencies(), Latencies(), Latencies()
    fast.update([1000] * 98)
    slow.update([50_000, 90_000])
    found = quantiles([fast.encoded(), slow.encoded()])
    assert list(found) == QUANTILE_NAMES
    assert found["p50"] == pytest.approx(1000, rel=0.002)
    assert found["p99"] == pytest.approx(50_000, rel=0.002)
    assert found["max"] == pytest.approx(90_000, rel=0.002)
    assert quantiles([none.encoded()]) == dict.fromkeys(QUANTILE_NAMES)


def test_processes_add_up():
    one = {
        "delivered": 10,
        "failed": 1,
        "cpu_seconds": 0.5,
        "rss_kb": 100,
        "seconds": 1.0,
        "mean_size": 302.0,
        "cpu_by_thread": {"main": 0.25},
    }
    both = merge(
        [
            {**one, "series": [4, 6], "histogram": Latencies().encoded()},
            {**one, "seconds": 2.0, "series": [1, 2, 7], "histogram": Latencies().encoded()},
        ]
    )
    assert (both["delivered"], both["failed"], both["cpu_seconds"], both["rss_kb"]) == (20, 2, 1.0, 200)
    assert (both["seconds"], both["series"]) == (2.0, [5, 8, 7])


def test_cpu_is_split_by_the_names_of_threads():
    before = {1: ThreadCpu("main", 1.0), 2: ThreadCpu("rdk:broker", 2.0), 3: ThreadCpu("ended", 9.0)}
    after = {
        1: ThreadCpu("main", 1.5),
        2: ThreadCpu("rdk:broker", 4.0),
        4: ThreadCpu("rdk:broker", 0.25),
        5: ThreadCpu("reports", 1.0),
    }
    assert spent(before, after) == {"rdk:broker": 2.25, "reports": 1.0, "main": 0.5}
    # what is in no thread any more
    assert split(5.0, before, after) == {"rdk:broker": 2.25, "reports": 1.0, "main": 0.5, "ended": 1.25}
    assert split(3.8, before, after).keys() == {"rdk:broker", "reports", "main"}
    assert split(5.0, {}, {}) == {}


@pytest.mark.skipif(sys.platform != "linux", reason="platform: /proc tells the threads")
def test_threads_have_their_names_in_the_system(monkeypatch):
    monkeypatch.setattr(threading.Thread, "start", threading.Thread.start)
    name_threads()
    go_on = threading.Event()
    threads = [threading.Thread(target=go_on.wait, name=name) for name in ("pykafkaevt reports calls", "worker-12")]
    for thread in threads:
        thread.start()
    found = cpu_by_thread()
    go_on.set()
    assert [found[thread.native_id].name for thread in threads] == ["reports", "worker"]
    assert found[os.getpid()].name == "main"
    assert found[os.getpid()].seconds > 0
    assert cpu_by_thread(2**30) == {}


def test_ratios_are_taken_round_by_round():
    def one(side, number, rate, cpu, p99):
        return Measured(side, number, 1, 0, 1.0, rate, 1.0, cpu, {"p99": p99}, None)

    rounds = [one("ours", n, rate, 1.0, 30) for n, rate in ((1, 40.0), (2, 60.0), (3, 90.0))]
    rounds += [one("c", n, rate, 2.0, p99) for n, rate, p99 in ((1, 20.0, 20), (2, 60.0, 60), (3, 60.0, None))]
    assert Report("", {}, {}, rounds).ratios() == {
        "c": {"records/s": [1.0, 1.5, 2.0], "CPU per record": [0.5, 0.5, 0.5], "p99": [0.5, 1.0, 1.5]}
    }


@pytest.mark.parametrize(
    ("socket", "name", "value"),
    [
        ("h/t", "linger.ms", "5"),
        ("h/t?g.queue.buffering.max.ms=7", "linger.ms", "7"),
        ("h/t?t.acks=1", "acks", "1"),
        ("h/t?g.enable.idempotence=true", "enable.idempotence", "true"),
    ],
)
def test_the_socket_decides_the_settings_of_all_sides(socket, name, value):
    assert settings_of(parse_socket(socket))[name] == value


# ours and the Python peers, in this process


@pytest.mark.parametrize(
    ("api", "reports", "held"),
    [
        *(
            (api, reports, False)
            for api in ("emit", "emit_many", "publish", "publish_many")
            for reports in ("none", "batch", "route")
        ),
        *(("raise_event", reports, False) for reports in ("none", "route")),
        *((api, "batch", True) for api in ("emit", "emit_many", "publish", "publish_many")),
        *((api, "route", True) for api in ("emit", "publish", "publish_many", "raise_event")),
    ],
)
def test_every_api_delivers_and_reports(kafka_embedded, api, reports, held):
    run_spec = spec(api=api, reports=reports, throughput=1e5 if held else None)
    latencies = Latencies()
    side = ours(run_spec, kafka_embedded.bootstrap_servers, f"{api}-{reports}", latencies)
    chunks = make(1000, ready=api.startswith("publish"), seed=1).chunks(100)
    for chunk, dues in schedule(chunks, 1000, None, run_spec["throughput"]):
        side.send(chunk, dues)
    assert side.flush(20) == 0
    assert side.counts() == (1000, 0)
    side.close()
    assert side.reported == {"route": 1000}.get(reports, side.reported)
    if held:
        assert sum(latencies.counts.values()) == 1000
    else:
        assert latencies.counts


@pytest.mark.parametrize("name", [name for name, peer in PEERS.items() if peer.embedded])
@pytest.mark.parametrize(("ready", "rate"), [(False, None), (True, None), (False, 1e5)])
def test_the_python_peers_deliver_the_same_bytes(kafka_embedded, name, ready, rate):
    if name == "confluent-batch" and not hasattr(confluent_kafka.Producer, "produce_batch"):
        pytest.skip("this confluent-kafka has no produce_batch")
    topic = f"{name}-{ready}-{rate}"
    work = make(600, ready=ready, seed=1)
    latencies = Latencies()
    side = PEERS[name].make(spec(side=name), kafka_embedded.bootstrap_servers, topic, latencies)
    for chunk, dues in schedule(work.chunks(100), 600, None, rate):
        side.send(chunk, dues)
    assert side.flush(20) == 0
    assert side.counts() == (600, 0)
    side.close()
    assert latencies.counts
    reader = confluent_kafka.Consumer({"bootstrap.servers": kafka_embedded.bootstrap_servers, "group.id": "t"})
    reader.assign([confluent_kafka.TopicPartition(topic, n, 0) for n in range(4)])
    found = []
    while len(found) < 600:
        found += reader.consume(600 - len(found), 5)
    reader.close()
    ready_made = make(600, ready=True, seed=1)
    assert sorted((r.value(), r.key()) for r in found) == sorted(zip(ready_made.values, ready_made.keys, strict=True))


# the command


@pytest.mark.parametrize(
    "options", [(), ("--api", "emit", "--threads", 2), ("--record-size", 100, "--reports", "route")]
)
def test_a_run_says_what_it_measured(tmp_path, options):
    result = measured(tmp_path, "--num-records", 3000, "--warmup", 10, *options)
    (one,) = result["measured"]
    assert (one["side"], one["delivered"], one["failed"]) == ("ours", 3000, 0)
    assert sum(one["series"]) == 3000
    assert min(one["records_per_s"], one["mb_per_s"], one["cpu_us_per_record"], one["rss_kb"]) > 0
    assert list(one["latency_us"]) == QUANTILE_NAMES
    assert 0 < one["latency_us"]["p50"] <= one["latency_us"]["max"]
    assert result["settings"]["acks"] == "all"
    # the embedded broker's thread is one of the process
    assert {"main", "reports", "rdk:broker", "rdk:mock"} <= one["cpu_us_by_thread"].keys()
    assert all(us >= 0 for us in one["cpu_us_by_thread"].values())


def test_two_processes_share_the_records_in_each_round(tmp_path):
    result = measured(tmp_path, "--num-records", 3001, "--processes", 2, "--repeat", 2)
    assert [(one["round"], one["delivered"]) for one in result["measured"]] == [(1, 3001), (2, 3001)]


def test_a_rate_is_held_for_a_duration(tmp_path):
    result = measured(tmp_path, "--throughput", 4000, "--duration", 0.5, "--batch", 20)
    (one,) = result["measured"]
    assert one["delivered"] == 2000
    assert one["seconds"] == pytest.approx(0.5, abs=0.2)


def test_what_waits_for_a_slow_broker_counts_from_its_intended_time(tmp_path):
    with EmbeddedBroker(topics=["slow"]) as broker:
        broker.set_rtt_ms(1, 200)
        # 100 records in 200 ms get through, 1000 are to be sent in that time
        socket = f"kafka:{broker.bootstrap_servers}/slow?g.queue.buffering.max.messages=100"
        result = measured(tmp_path, socket, "--throughput", 5000, "--num-records", 500, "--batch", 20, "--warmup", 1)
    latency = result["measured"][0]["latency_us"]
    # the acknowledgement alone takes 0.2 to 0.4 s; the last record was due after 0.1 s and left after 0.8 s
    assert latency["max"] > 700_000
    assert latency["p50"] > 300_000


def test_a_comparison_takes_turns_and_names_the_absent(tmp_path, monkeypatch):
    monkeypatch.setenv("PYKAFKAEVT_PEERS", str(tmp_path))
    output = tmp_path / "result.json"
    names = "confluent,c,aiokafka,java"
    result = run("--compare", names, "--num-records", 2000, "--repeat", 2, "--output", output)
    assert result.exit_code == 0, result.output
    assert f"c is absent: no {tmp_path}/c: make peers" in result.stdout
    found = json.loads(output.read_text())
    assert [one["side"] for one in found["measured"]] == ["ours", "confluent"] * 2
    assert list(found["absent"]) == ["c", "aiokafka", "java"]
    least, middle, greatest = found["ratios_ours_to_peer"]["confluent"]["records/s"]
    assert 0 < least <= middle <= greatest
    assert len(found["ratios_ours_to_peer"]["confluent"]["CPU per record"]) == 3


def program(path, body):
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_a_program_gets_the_same_settings_and_its_result_is_taken(tmp_path, monkeypatch):
    latency = ",".join(f'"{name}":{n}' for n, name in enumerate(QUANTILE_NAMES, 1))
    threads = '"cpu_us_by_thread":{"main":2.0,"reports":0.5}'
    said = f'{{"records":1000,"seconds":0.5,"cpu_us_per_record":2.5,{threads},"latency_us":{{{latency}}},'
    said += '"failed":0,"rss_kb":9}'
    program(tmp_path / "c", f"echo \"$@\" > {tmp_path}/arguments; echo '{said}'")
    monkeypatch.setenv("PYKAFKAEVT_PEERS", str(tmp_path))
    socket = "kafka:embedded/t?g.linger.ms=9&t.compression.type=lz4"
    found = measured(tmp_path, socket, "--compare", "c", "--num-records", 1000, "--repeat", 1, "--batch", 64)
    arguments = (tmp_path / "arguments").read_text()
    for part in ("--bootstrap embedded --topic t --records 1000 --size 277 --key-size 25", "--linger-ms 9 --acks all"):
        assert part in arguments
    assert "--mode batch --batch 64 --librdkafka /" in arguments
    assert "--config enable.idempotence=false compression.type=lz4 queue.buffering.max.messages=100000" in arguments
    peer = found["measured"][1]
    assert (peer["side"], peer["records_per_s"], peer["cpu_us_per_record"], peer["rss_kb"]) == ("c", 2000.0, 2.5, 9)
    assert peer["latency_us"] == {name: n for n, name in enumerate(QUANTILE_NAMES, 1)}
    assert peer["cpu_us_by_thread"] == {"main": 2.0, "reports": 0.5}


def test_a_peer_that_breaks_is_named_and_fails_the_command(tmp_path, monkeypatch):
    program(tmp_path / "c", "echo no such option >&2; exit 2")
    monkeypatch.setenv("PYKAFKAEVT_PEERS", str(tmp_path))
    result = run("--compare", "c", "--num-records", 100)
    assert result.exit_code == 1
    assert "c failed: c: no such option" in result.stdout
    assert "Error: failed: c\n" in result.stderr


def test_the_line_of_kafkas_own_tool_is_understood():
    line = (
        "5000 records sent, 10000.0 records/sec (2.88 MB/sec), 3.10 ms avg latency, 99.00 ms max latency, "
        "3 ms 50th, 7 ms 95th, 8 ms 99th, 90 ms 99.9th."
    )
    found = java_result(line, 1.5)
    assert (found["delivered"], found["seconds"], found["cpu_seconds"]) == (5000, 0.5, 1.5)
    assert found["latency_us"] == {"p50": 3000, "p90": None, "p99": 8000, "p99.9": 90_000, "max": 99_000}


@pytest.mark.parametrize(
    "arguments",
    [
        ("kafka:",),
        ("--num-records", 0),
        ("--compare", "nobody"),
        ("--output", "result.txt"),
        ("--record-size", 10, "--api", "emit"),
        ("--record-size", 10, "--event"),
        ("--throughput", 10, "--reports", "none"),
        ("--api", "raise_event", "--reports", "batch"),
        ("--compare", "confluent", "--processes", 2),
        ("--num-records", 1, "--threads", 2),
        ("--payload-file", "/nowhere"),
        ("--sweep", "--throughput", 10),
        ("--budget", "/nowhere"),
    ],
)
def test_wrong_usage_exits_with_2(arguments):
    assert run(*arguments).exit_code == 2


def test_a_property_that_librdkafka_refuses_is_wrong_usage():
    result = run("kafka:embedded/t?g.no.such=1", "--num-records", 10)
    assert result.exit_code == 2
    assert "no.such" in result.output
