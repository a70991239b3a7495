"""The command without a server: its parsing, its formats, its exit codes; brokers are embedded ones."""

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from time import monotonic, sleep

import dpkt
import pytest
from click.testing import CliRunner
from confluent_kafka import Consumer, TopicPartition

from pykafkaevt import SKIP, EmbeddedBroker, EventTemplate, dumps
from pykafkaevt.capture import Datagram, read_capture
from pykafkaevt.cli.call_order import CALL_ID, CallOrder, renamed
from pykafkaevt.cli.check import names_a_broker_id
from pykafkaevt.cli.commands import NAMES, commands
from pykafkaevt.cli.demo import message_rows
from pykafkaevt.cli.display import printable
from pykafkaevt.cli.publish import CHUNK, read_lines
from pykafkaevt.cli.tail import json_line, text_line
from pykafkaevt.sip.message import SIP_FIELDS

PATIENCE = 20  # seconds for what takes milliseconds


def run(*arguments, **options):
    return CliRunner().invoke(commands, [str(argument) for argument in arguments], **options)


@pytest.fixture(scope="module")
def embedded():
    with EmbeddedBroker() as broker:
        yield broker.bootstrap_servers


@pytest.fixture
def topic(request):
    return "".join(c if c.isalnum() else "-" for c in request.node.name)


@pytest.fixture
def closed_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        yield listener.getsockname()[1]


def records(bootstrap_servers, topic, count):
    """The first `count` records of the topic, in the order of their offsets, by partition."""
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "test"})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(4)])
    found = []
    end = monotonic() + PATIENCE
    while len(found) < count and monotonic() < end:
        found += consumer.consume(count - len(found), 0.1)
    consumer.close()
    assert [record.error() for record in found] == [None] * count
    return sorted(found, key=lambda record: (record.partition(), record.offset()))


# the group


@pytest.mark.parametrize("name", NAMES)
def test_each_command_has_help_with_an_example(name):
    result = run(name, "--help")
    assert result.exit_code == 0
    assert f"Example:\n    {'tail -F calls | ' if name == 'publish' else ''}pykafkaevt {name}" in result.stdout


def test_the_help_lists_the_commands():
    result = run("--help")
    assert result.exit_code == 0
    assert all(f"\n  {name} " in result.stdout for name in NAMES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["check"], "Missing argument 'SOCKET'"),
        (["check", "kafka:h:9092/"], "missing topic at position 13\n  kafka:h:9092/\n               ^"),
        (["check", "[k1]kafka:h:x/t"], "[k1]kafka:h:x/t\n"),
        (["check", "kafka:h/t?g.nonsense=1"], 'g.nonsense: No such configuration property: "nonsense"'),
        (["check", "kafka:h/t?g.linger.ms=x"], "g.linger.ms: "),
        (["check", "kafka:h/t", "--timeout", "0"], "--timeout"),
        (["check", "kafka:h/t?g.transactional.id=x"], "g.transactional.id: there are no transactions"),
        (["check", "kafka:h/t?g.delivery.report.only.error=true"], "g.delivery.report.only.error: every record"),
        (["check", "kafka:h/t?g.log.queue=true"], "g.log.queue: "),
        (["check", "kafka:h/t?g.enabled_events=1"], "g.enabled_events: "),
        (["check", "kafka:h/t?g.sasl.mechanism=OAUTHBEARER"], "g.sasl.mechanism: OAUTHBEARER needs"),
        (["check", "kafka:h/t?g.enable.idempotence=true&g.acks=1"], "g.acks: g.enable.idempotence=true needs acks=all"),
        (["check", "[k1]kafka:h/t?g.enable.idempotence=true&t.acks=1"], "t.acks: g.enable.idempotence=true needs"),
        (["publish"], "Missing argument 'SOCKET'"),
        (["publish", "kafka:h/"], "Invalid value for 'SOCKET': missing topic"),
        (["publish", "kafka:h/t", "a", "--file", "/dev/null"], "give values or --file, not both"),
        (["publish", "kafka:h/t", "--file", "/nonexistent"], "does not exist"),
        (
            ["publish", "kafka:h/t", "--key", "a", "--key-separator", "b"],
            "--key or --key-separator, not both",
        ),
        (["publish", "kafka:h/t", "--key-separator", ""], "--key-separator is empty"),
        (["publish", "kafka:h/t", "--header", "a"], "'a' is no NAME=VALUE"),
        (["publish", "kafka:h/t", "--header", "=a"], "'=a' is no NAME=VALUE"),
        (["publish", "kafka:h/t?g.nonsense=1", "a"], "g.nonsense: "),
        (["tail", "kafka:embedded/t"], "an embedded broker lives inside one process"),
        (["tail", "kafka:h/t", "--from", "middle"], "'middle'"),
        (["tail", "kafka:h/t", "--count", "0"], "--count"),
        (["tail", "kafka:h/t?g.nonsense=1"], "librdkafka refuses the properties"),
        (["demo", "--socket", "kafka:h"], "Invalid value for '--socket'"),
        (["demo", "--calls-times", "0"], "--calls-times"),
        (["info", "extra"], "unexpected extra argument"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_why(arguments, message):
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(("missing", "arguments"), [("click", ["--help"]), ("rich", ["demo"]), ("dpkt", ["demo"])])
def test_missing_command_line_parts_are_named_in_one_line(missing, arguments):
    code = f"import sys; sys.modules[{missing!r}] = None; from pykafkaevt.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "pykafkaevt needs its command-line parts: pip install 'pykafkaevt[cli]'\n"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["check", "kafka:127.0.0.1:9092/t"], 0),
        (["publish", "kafka:embedded/t", "a"], 0),
        (["check", "kafka:127.0.0.1:9092/"], 2),
        (["--version"], 0),
    ],
)
def test_python_m_pykafkaevt_is_the_command(arguments, code):
    done = subprocess.run([sys.executable, "-m", "pykafkaevt", *arguments], capture_output=True, check=False)
    assert done.returncode == code
    assert b"Traceback" not in done.stderr


# check


def test_check_prints_the_parts_and_masks_secrets():
    result = run(
        "check",
        "kafka:h1:9092,[::1]/t?g.linger.ms=5&g.sasl.password=tell-no-one&t.acks=1&g.client.id=%C2%A0%26&key=callid",
    )
    assert result.stdout.splitlines() == [
        "broker     h1:9092",
        "broker     [::1]",
        "topic      t",
        "key        callid",
        "property   g.linger.ms=5",
        "property   g.sasl.password=***",
        "property   g.client.id=\\xa0&",
        "property   t.acks=1",
        "WARNING    h1:9092,[::1]: there are credentials and no encryption: set g.security.protocol=sasl_ssl",
    ]
    assert result.exit_code == 0
    assert result.stderr == ""


def test_check_reads_a_broker_id():
    result = run("check", "[k1]127.0.0.1:9092/t")
    assert result.stdout.startswith("broker ID  k1\nbroker     127.0.0.1:9092\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[k1]h/t", True),
        ("[k1]kafka:h/t", True),
        (" [k1]h/t", True),
        ("[::1]h/t", True),
        ("[k1][::1]:9092/t", True),
        ("[k1]", True),
        ("[k1", True),
        ("[::1]:9092/t", False),
        ("[::1]/t", False),
        ("[::1],h/t", False),
        ("[::1] ,h/t", False),
        ("kafka:[::1]/t", False),
        ("h/t", False),
        ("", False),
    ],
)
def test_brackets_before_a_port_a_comma_or_a_topic_are_an_ipv6_host(text, expected):
    assert names_a_broker_id(text) is expected


def test_check_connect_lists_the_partitions_and_their_leaders():
    result = run("check", "--connect", "kafka:embedded/t")
    assert result.exit_code == 0
    lines = [line for line in result.stdout.splitlines() if line.startswith("partition")]
    assert [line.partition(":")[0] for line in lines] == [f"partition  {n}" for n in range(4)]
    assert all("leader 1 (127.0.0.1:" in line for line in lines)


def test_check_connect_fails_without_the_topic_and_does_not_make_it(embedded, topic):
    for _ in range(2):
        result = run("check", "--connect", f"kafka:{embedded}/{topic}")
        assert result.exit_code == 1
        assert "the cluster has no such topic" in result.stderr


def test_check_connect_says_why_no_broker_answers(closed_port):
    result = run("check", "--connect", "--timeout", 0.5, f"kafka:127.0.0.1:{closed_port}/t")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: 127.0.0.1:{closed_port}: no answer within 0.5 s: ")
    assert "Connection refused" in result.stderr


# publish


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"a", [b"a"]),
        (b"a\n", [b"a"]),
        (b"a\r\nb\n", [b"a", b"b"]),
        (b"a\rb\n", [b"a\rb"]),
        (b"\n\na\n\n", [b"", b"", b"a", b""]),
        (b"\x00\xff\n", [b"\x00\xff"]),
        (b"x" * (3 * CHUNK) + b"\ny", [b"x" * (3 * CHUNK), b"y"]),
        (b"xy\n" * CHUNK, [b"xy"] * CHUNK),
    ],
    ids=lambda value: None if len(value) < 20 else "long",
)
def test_lines_lose_their_line_end_and_nothing_else(data, lines):
    read = [line for batch in read_lines(io.BufferedReader(io.BytesIO(data))) for line in batch]
    assert read == lines


LINES = b'k1:{"a": 1}\r\n\nk2:[1, 2.50, 12345678901234567890123]\nk3:{}'


@pytest.mark.parametrize(
    ("arguments", "data", "expected"),
    [
        (["a", "", "b"], None, [(None, b"a"), (None, b""), (None, b"b")]),
        (["é", b"\xff".decode("utf-8", "surrogateescape")], None, [(None, "é".encode()), (None, b"\xff")]),
        ([], b"a\n\nb\r\n", [(None, b"a"), (None, b"b")]),
        (["--keep-empty"], b"a\n\nb", [(None, b"a"), (None, b""), (None, b"b")]),
        (["--key", "k"], b"a\nb\n", [(b"k", b"a"), (b"k", b"b")]),
        (["--key-separator", ":"], b"k:a:b\n:c\n", [(b"k", b"a:b"), (b"", b"c")]),
        (["--key-separator", "=>"], b"k=>v\n", [(b"k", b"v")]),
        (
            ["--event", "E_X", "--key-separator", ":"],
            LINES,
            [
                (b"k1", b'{"jsonrpc":"2.0","method":"E_X","params":{"a": 1}}'),
                (b"k2", b'{"jsonrpc":"2.0","method":"E_X","params":[1, 2.50, 12345678901234567890123]}'),
                (b"k3", b'{"jsonrpc":"2.0","method":"E_X","params":{}}'),
            ],
        ),
        (["--event", 'E"', "--key", "k"], b' {"a":"\xc3\xa9"} \n', [(b"k", dumps('E"', {"a": "é"}))]),
    ],
)
def test_publish_makes_a_record_of_each_line(embedded, topic, tmp_path, arguments, data, expected):
    text = f"kafka:{embedded}/{topic}"
    results = [run("publish", text, *arguments, input=data)]
    if data is not None:
        (tmp_path / "lines").write_bytes(data)
        results.append(run("publish", text, *arguments, "--file", tmp_path / "lines"))
    for result in results:
        assert result.stdout == f"queued {len(expected)}, delivered {len(expected)}, failed 0\n", result.output
        assert result.exit_code == 0
    found = [(record.key(), record.value()) for record in records(embedded, topic, len(expected) * len(results))]
    assert sorted(found, key=repr) == sorted(expected * len(results), key=repr)


def test_publish_sends_headers(embedded, topic):
    run("publish", f"kafka:{embedded}/{topic}", "a", "--header", "n=1=2", "--header", "n=", "--header", "m=é")
    (record,) = records(embedded, topic, 1)
    assert record.headers() == [("n", b"1=2"), ("n", b""), ("m", "é".encode())]


@pytest.mark.parametrize(
    ("arguments", "data", "delivered", "message"),
    [
        (["--event", "E"], b'{"a":1}\n\n{"a":2}\n{"a":}\n{"a":3}\n', 2, "line 4: column 6 of its JSON: "),
        (["--event", "E"], b"{}\n5\n", 1, "line 2: params are a JSON object or array"),
        (["--event", "E"], b"{}\n\xff\n", 1, "line 2: column "),
        (["--key-separator", ":"], b"k:v\n\nv\nk:v\n", 1, "line 3: has no ':' after its key"),
        (["--event", "E"], b"{}\n" * 300_000 + b"{\n", 300_000, "line 300001: column "),
    ],
    ids=["JSON", "scalar", "not UTF-8", "no separator", "a later batch"],
)
def test_publish_stops_at_a_bad_line_and_delivers_those_before(embedded, topic, arguments, data, delivered, message):
    result = run("publish", f"kafka:{embedded}/{topic}", *arguments, input=data)
    assert result.exit_code == 1
    assert result.stdout == f"queued {delivered}, delivered {delivered}, failed 0\n"
    assert message in result.stderr


def test_publish_names_the_errors_of_undelivered_records(embedded, topic):
    text = f"kafka:{embedded}/{topic}?g.message.max.bytes=1000"
    result = run("publish", text, "a", "x" * 2000, "b")
    assert result.exit_code == 1
    assert result.stdout.startswith("queued 2, delivered 2, failed 1\n  1 of them: Broker: Message size too large (")
    assert "1 of 3 records were not delivered" in result.stderr


def test_publish_to_no_broker_ends_after_its_timeout(closed_port):
    begin = monotonic()
    result = run("publish", f"kafka:127.0.0.1:{closed_port}/t", "a", "b", "--timeout", 0.3)
    assert monotonic() - begin < PATIENCE
    assert result.exit_code == 1
    assert result.stdout == "queued 2, delivered 0, failed 0\n  2 without an acknowledgement after 0.3 s\n"
    assert "2 of 2 records were not delivered: 127.0.0.1:" in result.stderr
    assert "Connection refused" in result.stderr


@contextmanager
def started(*arguments, **options):
    """The command as a process of its own, ended with the test."""
    command = [sys.executable, "-m", "pykafkaevt", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def test_publish_delivers_what_it_accepted_before_ctrl_c(embedded, topic):
    with started("publish", f"kafka:{embedded}/{topic}", stdin=subprocess.PIPE) as process:
        process.stdin.write(b"a\nb\nunfinished")
        process.stdin.flush()
        assert {record.value() for record in records(embedded, topic, 2)} == {b"a", b"b"}
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 1
        assert process.stdout.read() == b"queued 2, delivered 2, failed 0\n"
        assert process.stderr.read() == b"Error: interrupted: nothing more was read\n"


def test_publish_does_not_wait_for_a_broker_that_is_away_after_ctrl_c(closed_port):
    socket_text = f"kafka:127.0.0.1:{closed_port}/t?g.log_level=0"
    with started("publish", socket_text, stdin=subprocess.PIPE, text=True) as process:
        process.stdin.write("a\nb\n")
        process.stdin.flush()
        wait_for_threads(process.pid, 3)
        sleep(0.5)
        assert interrupted(process) == 1
        assert process.stdout.read() == "queued 2, delivered 0, failed 0\n  2 without an acknowledgement\n"
        assert process.stderr.read().endswith("Error: interrupted: nothing more was read\n")


# Ctrl-C


def interrupted(process):
    """The exit code after Ctrl-C, which must come soon."""
    process.send_signal(signal.SIGINT)
    begin = monotonic()
    code = process.wait(PATIENCE)
    assert monotonic() - begin < 2.5
    return code


def wait_for_threads(pid, count):
    """Until the process has so many threads: librdkafka's, or that of a question to the brokers."""
    end = monotonic() + PATIENCE
    while len(os.listdir(f"/proc/{pid}/task")) < count:
        assert monotonic() < end
        sleep(0.02)


def workers_of(pid):
    """Of a bench; it asks other programs too, about the machine."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        children = [int(child) for child in file.read().split()]
    return [child for child in children if b"pykafkaevt.bench.worker" in command_of(child)]


def command_of(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""  # it has ended


@pytest.mark.skipif(sys.platform != "linux", reason="platform: /proc tells the threads")
@pytest.mark.parametrize(
    "arguments",
    [["tail", "{}"], ["tail", "{}", "--from", "beginning"], ["check", "--connect", "{}"], ["demo", "--socket", "{}"]],
    ids=lambda arguments: "-".join(arguments).replace("-{}", ""),
)
def test_ctrl_c_ends_a_command_that_waits_for_a_broker_that_is_away(arguments, closed_port):
    socket_text = f"kafka:127.0.0.1:{closed_port}/t?g.log_level=0"
    with started(*(argument.format(socket_text) for argument in arguments), text=True) as process:
        wait_for_threads(process.pid, 4)
        sleep(0.3)
        assert interrupted(process) == 1
        assert process.stderr.read().splitlines()[-1] == "Error: interrupted"


@pytest.mark.skipif(sys.platform != "linux", reason="platform: /proc tells the children")
@pytest.mark.parametrize("whole_group", [False, True], ids=["process", "terminal"])
@pytest.mark.parametrize("processes", [1, 2])
def test_ctrl_c_ends_a_bench_and_its_workers(processes, whole_group):
    command = ("bench", "--num-records", "1000000000", "--processes", str(processes), "--warmup", "1000")
    with started(*command, text=True, start_new_session=True) as process:
        end = monotonic() + PATIENCE
        while len(workers_of(process.pid)) < processes and monotonic() < end:
            sleep(0.05)
        workers = workers_of(process.pid)
        assert len(workers) == processes
        for worker in workers:
            wait_for_threads(worker, 4)
        if whole_group:
            os.killpg(process.pid, signal.SIGINT)
        assert interrupted(process) == 1
        assert process.stderr.read() == "Error: interrupted\n"
        # a killed one is there until init has seen to it
        end = monotonic() + PATIENCE
        while (left := [worker for worker in workers if os.path.exists(f"/proc/{worker}")]) and monotonic() < end:
            sleep(0.05)
        assert not left


@pytest.mark.skipif(sys.platform != "linux", reason="platform: /proc tells the children")
def test_the_worker_of_a_bench_that_was_killed_ends():
    with started("bench", "--num-records", "1000000000", "--warmup", "1000") as process:
        end = monotonic() + PATIENCE
        while not (workers := workers_of(process.pid)) and monotonic() < end:
            sleep(0.05)
        wait_for_threads(workers[0], 8)
        process.kill()
        while os.path.exists(f"/proc/{workers[0]}") and monotonic() < end:
            sleep(0.05)
        assert not os.path.exists(f"/proc/{workers[0]}")


# tail


class Record:
    """A record as confluent-kafka gives it."""

    def __init__(self, key=None, value=None, headers=None, timestamp=(1, 1_700_000_000_123)):
        self._key, self._value, self._headers, self._timestamp = key, value, headers, timestamp

    def partition(self):
        return 2

    def offset(self):
        return 7

    def key(self):
        return self._key

    def value(self):
        return self._value

    def headers(self):
        return self._headers

    def timestamp(self):
        return self._timestamp


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"plain \\ text", "plain \\ text"),
        ("é 📞 日".encode(), "é 📞 日"),
        (b"a\tb\nc\r\x00\x7f", "a\\tb\\nc\\r\\x00\\x7f"),
        (b"\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("\x9b2J\u202e\u2028\ufeff".encode(), "\\x9b2J\\u202e\\u2028\\ufeff"),
        (b"\xff\xfe", "\\xff\\xfe"),
        ("\U000e0001".encode(), "\\U000e0001"),
        ("of text \x1b", "of text \\x1b"),
        (b"", ""),
    ],
)
def test_nothing_reaches_a_terminal_that_does_not_print(data, shown):
    assert printable(data) == shown


@pytest.mark.parametrize(
    ("record", "line"),
    [
        (Record(b"k", b"v"), "2 7 2023-11-14T22:13:20.123+00:00 k v"),
        (Record(None, None, timestamp=(0, -1)), "2 7 - - "),
        (Record(b"\x1b", b"\n"), "2 7 2023-11-14T22:13:20.123+00:00 \\x1b \\n"),
    ],
)
def test_text_format(record, line):
    assert text_line(record) == line


@pytest.mark.parametrize(
    ("record", "value"),
    [
        (Record(b"k", b'{"a":1}'), {"key": "k", "value": '{"a":1}'}),
        (Record(None, None, timestamp=(0, -1)), {"key": None, "value": None, "timestamp": None}),
        (Record(b"\xff", "\x1b\x9b\x7f\u202e\U000e0001é".encode()), {"key": {"base64": "/w=="}}),
        (Record(b"", b"", [("n", b"1"), ("n", None)]), {"headers": [["n", "1"], ["n", None]]}),
    ],
)
def test_json_format_is_exact_and_safe(record, value):
    line = json_line(record)
    parsed = json.loads(line)
    assert line.isprintable()
    assert parsed.items() >= value.items()
    assert parsed["value"] == (None if record.value() is None else record.value().decode())
    assert (parsed["partition"], parsed["offset"]) == (2, 7)


@pytest.mark.parametrize(
    ("form", "stdout"),
    [
        ("text", "0 0 {time} k \\x1b[2Ja\n0 1 {time} k é\n"),
        ("value", "\x1b[2Ja\né\n"),
    ],
)
def test_tail_prints_from_the_beginning(embedded, topic, form, stdout):
    text = f"kafka:{embedded}/{topic}"
    run("publish", text, "--key", "k", "\x1b[2Ja", "é")
    found = records(embedded, topic, 2)
    result = run("tail", text, "--from", "beginning", "--count", 2, "--format", form)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    if form == "text":
        partition = found[0].partition()
        assert [line.split(" ")[:2] for line in lines] == [[str(partition), "0"], [str(partition), "1"]]
        assert [line.split(" ")[3:] for line in lines] == [["k", "\\x1b[2Ja"], ["k", "é"]]
    else:
        assert result.stdout == stdout


def test_tail_json_comes_back_exactly(embedded, topic):
    text = f"kafka:{embedded}/{topic}"
    run("publish", text, "--key", "k", "--header", "n=v", "a", "b", "c")
    result = run("tail", text, "--from", "beginning", "--timeout", 1, "--format", "json")
    assert result.exit_code == 0
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(f["offset"], f["key"], f["value"], f["headers"]) for f in found] == [
        (offset, "k", value, [["n", "v"]]) for offset, value in enumerate("abc")
    ]


def test_tail_passes_over_the_properties_of_a_producer(embedded, topic):
    text = f"kafka:{embedded}/{topic}?g.linger.ms=1&g.enable.idempotence=true&t.acks=all&key=callid"
    assert run("publish", text, "a").exit_code == 0
    result = run("tail", text, "--from", "beginning", "--count", 1, "--format", "value")
    assert (result.exit_code, result.stdout) == (0, "a\n")


def test_tail_fails_when_fewer_records_come_than_asked_for(embedded, topic):
    text = f"kafka:{embedded}/{topic}"
    run("publish", text, "a")
    result = run("tail", text, "--from", "beginning", "--count", 2, "--timeout", 0.5)
    assert result.exit_code == 1
    assert "1 of 2 records came" in result.stderr


def test_tail_needs_the_topic(embedded, topic):
    result = run("tail", f"kafka:{embedded}/{topic}")
    assert result.exit_code == 1
    assert f"no topic {topic}" in result.stderr


def test_tail_follows_from_the_end_until_ctrl_c(embedded, topic):
    text = f"kafka:{embedded}/{topic}"
    run("publish", text, "before")
    with started("tail", text, "--format", "value", text=True) as process:
        assert process.stderr.readline() == f"partitions of {topic}: 4, reading from the end\n"
        run("publish", text, "after")
        assert process.stdout.readline() == "after\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
        assert process.stderr.read() == ""


# info


def test_info_as_json_has_every_part():
    result = run("info", "--json")
    assert result.exit_code == 0
    parts = json.loads(result.stdout)
    assert os.path.isfile(parts["librdkafka file"])
    assert parts["simd"]
    assert "gzip" in parts["features"]
    assert all(parts[name] for name in ("pykafkaevt", "python", "librdkafka", "confluent-kafka", "orjson"))


def test_info_as_text():
    result = run("info")
    assert result.exit_code == 0
    assert "\nlibrdkafka file    /" in result.stdout


@pytest.mark.parametrize("arguments", [["info"], ["info", "--json"], ["publish", "kafka:h/t", "a"]])
def test_without_librdkafka_the_command_shows_what_was_tried(arguments):
    done = subprocess.run(
        [sys.executable, "-m", "pykafkaevt", *arguments],
        env={**os.environ, "PYKAFKAEVT_LIBRDKAFKA": "/nonexistent/librdkafka.so"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "/nonexistent/librdkafka.so: " in done.stderr
    assert "Traceback" not in done.stderr
    if arguments[0] == "info":
        assert "confluent-kafka" in done.stdout


# capture

PAYLOAD = b"OPTIONS sip:h SIP/2.0\r\n\r\n"
UDP = bytes(dpkt.udp.UDP(sport=5060, dport=5061, ulen=8 + len(PAYLOAD), data=PAYLOAD))
V4 = {"src": b"\x0a\x00\x00\x01", "dst": b"\x0a\x00\x00\x02"}
V6 = {"src": b"\x20\x01" + bytes(13) + b"\x01", "dst": b"\x20\x01" + bytes(13) + b"\x02"}
IP4 = bytes(dpkt.ip.IP(**V4, p=17, len=20 + len(UDP), data=UDP))
IP6 = bytes(dpkt.ip6.IP6(**V6, nxt=17, plen=len(UDP), data=UDP, extension_hdrs={}))


def capture_of(link_type, *frames):
    file = io.BytesIO()
    writer = dpkt.pcap.Writer(file, linktype=link_type)
    for number, frame in enumerate(frames):
        writer.writepkt(frame, ts=1_700_000_000.25 + number)
    file.seek(0)
    return file


@pytest.mark.parametrize(
    ("link_type", "before"),
    [
        (dpkt.pcap.DLT_EN10MB, {4: bytes(12) + b"\x08\x00", 6: bytes(12) + b"\x86\xdd"}),
        (dpkt.pcap.DLT_NULL, {4: b"\x02\0\0\0", 6: b"\x1e\0\0\0"}),
        (dpkt.pcap.DLT_LOOP, {4: b"\0\0\0\x02", 6: b"\0\0\0\x18"}),
        (dpkt.pcap.DLT_LINUX_SLL, {4: bytes(14) + b"\x08\x00", 6: bytes(14) + b"\x86\xdd"}),
        (dpkt.pcap.DLT_LINUX_SLL2, {4: b"\x08\x00" + bytes(18), 6: b"\x86\xdd" + bytes(18)}),
    ],
    ids=["Ethernet", "loopback", "OpenBSD loopback", "Linux cooked", "Linux cooked v2"],
)
def test_capture_link_types(link_type, before):
    assert list(read_capture(capture_of(link_type, before[4] + IP4, before[6] + IP6))) == [
        Datagram(1_700_000_000_250_000, "10.0.0.1", 5060, "10.0.0.2", 5061, PAYLOAD),
        Datagram(1_700_000_001_250_000, "2001::1", 5060, "2001::2", 5061, PAYLOAD),
    ]


ETHERNET = bytes(12) + b"\x08\x00"


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        ETHERNET,
        ETHERNET + IP4[:19],
        ETHERNET + IP4[:24],
        ETHERNET + bytes(dpkt.ip.IP(**V4, p=6, data=dpkt.tcp.TCP())),
        ETHERNET + bytes(dpkt.ip.IP(**V4, p=17, mf=1, len=20 + len(UDP), data=UDP)),
        ETHERNET + bytes(dpkt.ip.IP(**V4, p=17, offset=8, len=20 + len(UDP), data=UDP)),
        bytes(12) + b"\x86\xdd" + IP6[:6] + b"\x2c" + IP6[7:40] + b"\x11\0\0\x01\0\0\0\0" + UDP,
        bytes(12) + b"\x08\x06" + bytes(28),
    ],
    ids=["empty", "no IP", "cut IP", "cut UDP", "TCP", "first fragment", "fragment", "IPv6 fragment", "ARP"],
)
def test_capture_passes_over_what_is_no_whole_udp_datagram(frame):
    assert [datagram.time for datagram in read_capture(capture_of(1, frame, ETHERNET + IP4))] == [1_700_000_001_250_000]


@pytest.mark.parametrize("file", [io.BytesIO(b"no capture" * 10), capture_of(dpkt.pcap.DLT_IEEE802_11)])
def test_what_cannot_be_read_as_a_capture_is_a_value_error(file):
    with pytest.raises(ValueError, match=r"pcap|link type"):
        list(read_capture(file))


# demo


def test_the_shipped_capture_is_150_calls_of_six_messages():
    calls = {}
    for row in message_rows():
        values = dict(zip(SIP_FIELDS, row, strict=True))
        calls.setdefault(values["callid"], []).append(values)
    assert len(calls) == 150
    for messages in calls.values():
        kinds = [m["method"] if m["status"] is SKIP else m["status"] for m in messages]
        assert kinds == ["INVITE", 180, 200, "ACK", "BYE", 200]
        assert [m["cseq"] for m in messages] == [1, 1, 1, 1, 2, 2]
        assert [m["cseq_method"] for m in messages] == ["INVITE"] * 3 + ["ACK"] + ["BYE"] * 2
        assert all(m["from_uri"] == "sip:sipp@127.0.0.1:5071" for m in messages)
        assert [m["src_port"] for m in messages] == [5071, 5070, 5070, 5071, 5071, 5070]
        assert [m["time"] for m in messages] == sorted(m["time"] for m in messages)


TEMPLATE = EventTemplate("E", SIP_FIELDS)
ROWS = [(SKIP, 200, "OK", call, *[number] * (len(SIP_FIELDS) - 4)) for number in range(3) for call in ("a", "b")]


def sent(suffix):
    """The records of one pass as (partition, key, value): call a in partition 0, call b in partition 1."""
    rows = [renamed(row, suffix) for row in ROWS]
    return [(int(row[CALL_ID].startswith("b")), row[CALL_ID].encode(), TEMPLATE.dumps(*row)) for row in rows]


def swapped(records, i, j):
    records = list(records)
    records[i], records[j] = records[j], records[i]
    return records


FIRST, LAST = sent("-1"), sent("-2")


@pytest.mark.parametrize(
    ("records", "whole", "lost", "misplaced", "faults"),
    [
        (FIRST + LAST, 4, 0, 0, {}),
        ([(9, None, b"x"), (9, b"other", b"x"), *FIRST, *LAST], 4, 0, 0, {}),
        (swapped(FIRST, 0, 2) + LAST, 3, 0, 1, {"a-1": "out of order"}),
        (swapped(FIRST, 0, 4) + LAST, 3, 0, 2, {"a-1": "out of order"}),
        ([*FIRST, FIRST[-1], *LAST], 3, 0, 1, {"b-1": "twice"}),
        ([(*FIRST[0][:2], b"{}"), *FIRST[1:], *LAST], 3, 1, 1, {"a-1": "changed"}),
        ([*FIRST[:-1], (0, *FIRST[-1][1:]), *LAST], 3, 0, 1, {"b-1": "partitions 1 and 0"}),
        (FIRST[:-1] + LAST, 3, 1, 0, {"b-1": "1 of its records did not come back"}),
        (FIRST[2:] + LAST, 2, 2, 0, {"a-1": "1 of its records", "b-1": "1 of its records"}),
        (LAST, 2, 6, 0, {"a-1": "3 of its records", "b-1": "3 of its records"}),
    ],
)
def test_each_call_must_come_back_whole_in_order_and_from_one_partition(records, whole, lost, misplaced, faults):
    order = CallOrder(ROWS, ["-1", "-2"], TEMPLATE.dumps)
    ours = [order.add(*record) for record in records]
    assert order.finish() == (4, whole, lost, misplaced)
    assert order.sent == 12
    assert order.records == sum(ours) == sum(record[0] != 9 for record in records)
    assert order.faults.keys() == faults.keys()
    assert all(fault in order.faults[name] for name, fault in faults.items())


def test_the_demo_ends_with_a_verdict_on_every_record(monkeypatch):
    for of_the_extra_bench in ("hdrh", "hdrh.histogram", "plotly"):
        monkeypatch.setitem(sys.modules, of_the_extra_bench, None)
    result = run("demo", "--compare-for", 0.2)
    assert result.exit_code == 0, result.output
    assert "\nacks     270,000\nfailed   0\n" in result.stdout
    assert re.search(r"\nlatency  p50 [\d.]+ ms, .*, max [\d.,]+ ms, emit to acknowledgement\n", result.stdout)
    assert result.stdout.count('"method":"E_SIP"') == 6
    assert re.fullmatch(
        "270,000 delivered, lost 0, out of order 0: 45,000 of 45,000 calls whole and in order; "
        r"\d+\.\d x confluent-kafka",
        result.stdout.splitlines()[-1],
    )


def test_the_demo_without_comparison_has_no_warm_up_in_its_latencies():
    result = run("demo", "--calls-times", 1, "--compare-for", 0)
    assert result.exit_code == 0, result.output
    assert "rate and latency are not measured: the first replay is the warm-up\n" in result.stdout
    last = "900 delivered, lost 0, out of order 0: 150 of 150 calls whole and in order"
    assert result.stdout.splitlines()[-1] == last


def test_the_demo_says_what_is_lost_and_out_of_order(monkeypatch):
    whole = CallOrder.add
    seen = []

    def add(self, partition, key, value):
        seen.append(key)
        if len(seen) == 1:  # the first record of a call never comes
            return True
        return whole(self, partition, key, value)

    monkeypatch.setattr(CallOrder, "add", add)
    result = run("demo", "--calls-times", 2, "--compare-for", 0)
    assert result.exit_code == 1
    assert "\n1,800 delivered, lost 1, out of order 0: 299 of 300 calls whole and in order\n" in result.stdout
    assert re.fullmatch("Error: 1 calls are not as sent, .*: 1 of its records did not come back\n", result.stderr)


def test_demo_reads_only_its_own_records(embedded, topic):
    text = f"kafka:{embedded}/{topic}"
    run("publish", text, "someone else's")
    for _ in range(2):
        result = run("demo", "--socket", text, "--calls-times", 2)
        assert result.exit_code == 0, result.output
        assert result.stdout.endswith(
            "\n1,800 delivered, lost 0, out of order 0: 300 of 300 calls whole and in order\n"
        )


def test_demo_fails_without_a_broker(closed_port, monkeypatch):
    monkeypatch.setattr("pykafkaevt.cli.replay.ANSWER", 0.5)
    result = run("demo", "--socket", f"kafka:127.0.0.1:{closed_port}/t")
    assert result.exit_code == 1
    assert "no answer within 0.5 s" in result.stderr
