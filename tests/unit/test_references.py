"""Values of properties from the environment and files: when they are read, what is wrong with them, who shows them."""

import contextlib
import http.client
import json
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import time

import pytest

from pykafkaevt import AsyncProducer, ConfigError, Connector, EventInterface, Producer
from pykafkaevt.bench.programs import why_absent
from pykafkaevt.bench.runner import settings_of
from pykafkaevt.properties import check_properties, properties_of
from pykafkaevt.references import all_resolved, is_reference, resolved, shown, without
from pykafkaevt.sockets import parse_socket

SECRET = "open~Sesame"
AWAY = "kafka:127.0.0.1:1/t"


@pytest.fixture
def from_environment(monkeypatch):
    monkeypatch.setenv("KAFKA_SECRET", SECRET)
    return "@env:KAFKA_SECRET"


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("", ""),
        ("plain", "plain"),
        ("a@env:X", "a@env:X"),
        ("@@", "@"),
        ("@@env:X", "@env:X"),
        ("@@@x", "@@x"),
        ("@env:KAFKA_SECRET", SECRET),
        ("@env:EMPTY", ""),
        ("@env:AT", "@env:KAFKA_SECRET"),
    ],
)
def test_a_value_stands_for(monkeypatch, from_environment, written, value):
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.setenv("AT", "@env:KAFKA_SECRET")
    assert resolved("g.x", written) == value


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"", ""),
        (b"\n", ""),
        (b"s3cret", "s3cret"),
        (b"s3cret\n", "s3cret"),
        (b"s3cret\r\n", "s3cret"),
        (b"s3cret\n\n", "s3cret\n"),
        (b" s3cret \n", " s3cret "),
        (b"-----BEGIN-----\nabc\n-----END-----\n", "-----BEGIN-----\nabc\n-----END-----"),
        ("é\n".encode(), "é"),
        (b"x" * 65536 + b"\r\n", "x" * 65536),
    ],
)
def test_a_file_stands_for_its_text_without_the_newline_at_its_end(tmp_path, content, value):
    path = tmp_path / "secret & 100%41"
    path.write_bytes(content)
    assert resolved("g.x", f"@file:{path}") == value


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("@", "a value that begins with '@' is @env:NAME or @file:PATH; write @@ for the '@' itself"),
        ("@hunter2", "a value that begins with '@' is @env:NAME or @file:PATH; write @@ for the '@' itself"),
        ("@ENV:X", "a value that begins with '@' is @env:NAME or @file:PATH; write @@ for the '@' itself"),
        ("@env:", "there is no environment variable ''"),
        ("@env:NOT_THERE", "there is no environment variable 'NOT_THERE'"),
        ("@env:LATIN", "the environment variable 'LATIN' is not UTF-8"),
        ("@env:LARGE", "the environment variable 'LARGE' has more than 65536 bytes"),
        ("@file:", "'': No such file or directory"),
        ("@file:/not/there", "'/not/there': No such file or directory"),
        ("@file:/dev/zero", "'/dev/zero' is no regular file"),
        ("@file:/", "'/': Is a directory"),
        ("@file:{}/fifo", "'{}/fifo' is no regular file"),
        ("@file:{}/large", "'{}/large' has more than 65536 bytes"),
        ("@file:{}/zero", "'{}/zero' has a zero byte"),
        ("@file:{}/latin", "'{}/latin' is not UTF-8"),
    ],
)
def test_what_is_not_to_be_had_names_the_property_and_the_place(tmp_path, monkeypatch, written, reason):
    monkeypatch.setenv("LARGE", "hunter2" * 10000)
    monkeypatch.setitem(os.environb, b"LATIN", b"hunter2\xff")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "large").write_bytes(b"x" * 65537)
    (tmp_path / "zero").write_bytes(b"hunter2\0")
    (tmp_path / "latin").write_bytes(b"hunter2\xff")
    with pytest.raises(ConfigError) as caught:
        resolved("g.sasl.password", written.format(tmp_path))
    assert str(caught.value) == f"g.sasl.password: {reason.format(tmp_path)}"
    chain = [
        caught.value,
        caught.value.__cause__,
        caught.value.__context__ if not caught.value.__suppress_context__ else None,
    ]
    assert not any("hunter2" in repr(one) for one in chain)


@pytest.mark.parametrize(
    ("name", "written", "text", "reference"),
    [
        ("sasl.password", "@env:NAME", "@env:NAME", True),
        ("sasl.password", "@file:/run/secret", "@file:/run/secret", True),
        ("sasl.password", "@@env:NAME", "***", False),
        ("sasl.password", "@hunter2", "***", False),
        ("sasl.password", "hunter2", "***", False),
        ("linger.ms", "@env:NAME", "@env:NAME", True),
        ("linger.ms", "5", "5", False),
    ],
)
def test_a_reference_is_shown_as_written_and_a_secret_is_not(name, written, text, reference):
    assert (shown(name, written), is_reference(written)) == (text, reference)
    parsed = parse_socket(f"kafka:h/t?g.{name}={written}")
    assert parsed.to_text() == f"kafka:h/t?g.{name}={text}"
    assert repr(parsed) == f"KafkaSocket('kafka:h/t?g.{name}={text}')"
    assert parsed.to_text(secrets=True) == f"kafka:h/t?g.{name}={written}"
    assert parsed.global_properties == {name: written}
    assert pickle.loads(pickle.dumps(parsed)) == parsed


def test_sockets_are_equal_by_what_is_written(from_environment):
    one, other = (parse_socket(f"kafka:h/t?g.sasl.password={value}") for value in (from_environment, SECRET))
    assert one != other
    assert one == parse_socket("kafka:h/t?g.sasl.password=@env:KAFKA_SECRET")
    assert one.with_properties(topic="t2").global_properties == {"sasl.password": "@env:KAFKA_SECRET"}
    # nothing is read for it
    assert parse_socket("kafka:h/t?g.sasl.password=@env:NOT_THERE") != one


def subscribed(text):
    with EventInterface() as events:
        events.publish_event("E")
        events.subscribe_event("E", text)


@pytest.mark.parametrize("property", ["g.sasl.password", "g.client.id", "t.compression.codec"])
@pytest.mark.parametrize(
    "make",
    [
        Producer,
        AsyncProducer,
        lambda text: Connector([f"[k]{text}"]),
        subscribed,
        lambda text: check_properties(parse_socket(text)),
    ],
)
def test_a_client_is_not_made_without_its_values(make, property):
    def made(text):
        one = make(text)
        if isinstance(one, Connector):
            one.kafka_publish("k", b"x")

    with pytest.raises(ConfigError) as caught:
        made(f"{AWAY}?{property}=@env:NOT_THERE")
    assert str(caught.value) == f"{property}: there is no environment variable 'NOT_THERE'"


def test_the_values_reach_librdkafka(tmp_path, monkeypatch):
    monkeypatch.setenv("LINGER", "17")
    (tmp_path / "id").write_text("from-a-file\n")
    (tmp_path / "acks").write_text("1\n")
    text = f"kafka:embedded/t?g.client.id=@file:{tmp_path}/id&g.linger.ms=@env:LINGER&g.statistics.interval.ms=100"
    with Producer(text) as producer:
        producer.publish(b"x")
        assert producer.flush(10) == 0
        while not producer.rdkafka_stats():
            pass
        assert producer.rdkafka_stats()["client_id"] == "from-a-file"
    # as do those of the topic: librdkafka says why it does not take them
    with pytest.raises(ConfigError, match=r"^t\.compression\.codec: "):
        Producer(f"kafka:embedded/t?t.compression.codec=@file:{tmp_path}/id")


@pytest.mark.parametrize(
    ("properties", "idempotent"),
    [("t.acks=@env:ALL", True), ("t.acks=@env:ONE", False), ("g.acks=@env:ONE", False)],
)
def test_what_a_value_decides_is_decided_by_what_it_stands_for(monkeypatch, properties, idempotent):
    monkeypatch.setenv("ALL", "all")
    monkeypatch.setenv("ONE", "1")
    found = dict(properties_of(parse_socket(f"{AWAY}?{properties}")))
    assert ("enable.idempotence" in found) is idempotent


@pytest.mark.parametrize(
    "properties",
    [
        "g.delivery.report.only.error=@env:TRUE",
        "g.enable.idempotence=@env:TRUE&t.acks=@env:ONE",
        "g.enable.idempotence=@env:TRUE&g.queuing.strategy=@env:LIFO",
        "g.sasl.mechanism=@env:OAUTH",
    ],
)
def test_what_cannot_be_used_cannot_be_brought_in_from_elsewhere(monkeypatch, properties):
    for name, value in (("TRUE", "true"), ("ONE", "1"), ("LIFO", "lifo"), ("OAUTH", "OAUTHBEARER")):
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError):
        check_properties(parse_socket(f"{AWAY}?{properties}"))


@pytest.mark.parametrize(
    "property",
    ["g.security.protocol", "g.debug", "g.linger.ms", "g.acks", "t.acks", "t.compression.codec", "g.nonsense"],
)
@pytest.mark.parametrize("value", [SECRET, f"topic,{SECRET},msg", "é" * 2000, SECRET * 300, f'"{SECRET}"'])
def test_a_value_that_librdkafka_does_not_take_is_not_shown(tmp_path, caplog, property, value):
    (tmp_path / "secret").write_text(value)
    with pytest.raises(ConfigError) as caught:
        Producer(f"{AWAY}?{property}=@file:{tmp_path}/secret")
    for text in (str(caught.value), repr(caught.value), caplog.text):
        assert "Sesame" not in text
        assert "éé" not in text
    assert caught.value.property == property


@pytest.mark.parametrize(
    ("hidden", "text", "masked"),
    [
        ([], 'Invalid value "x"', 'Invalid value "x"'),
        (["hunter2"], 'Invalid value "hunter2" for x', 'Invalid value "***" for x'),
        (["a,hunter2"], 'Invalid value "hunter2" for "x"', 'Invalid value "***" for "x"'),
        (["hunter2"], 'Invalid value "hunte', 'Invalid value "***'),
        (["huntér2"], 'Invalid value "hunt\ufffd', 'Invalid value "***'),
        (["hunter", "hunter2"], "hunter2 hunter", "*** ***"),
    ],
)
def test_a_reason_is_masked(hidden, text, masked):
    assert without(hidden, text) == masked


def test_what_must_not_be_shown_is_known_by_name_or_by_where_it_is_from(from_environment):
    properties = {"sasl.password": "@@x", "client.id": from_environment, "acks": "all", "sasl.username": "u"}
    found, hidden = all_resolved("g.", properties.items())
    assert dict(found) == {"sasl.password": "@x", "client.id": SECRET, "acks": "all", "sasl.username": "u"}
    assert hidden == ["@x", SECRET]


def test_the_secret_is_in_no_repr_log_exception_or_snapshot(from_environment, caplog):
    caplog.set_level(logging.DEBUG)
    text = f"{AWAY}?g.sasl.password={from_environment}&g.sasl.username={from_environment}"
    text += "&g.security.protocol=sasl_plaintext&g.sasl.mechanism=PLAIN&g.statistics.interval.ms=50"
    text += "&g.debug=conf,security,broker"
    said = []
    with Producer(text) as producer, EventInterface() as events, Connector([f"[k]{text}"]) as connector:
        events.publish_event("E")
        events.subscribe_event("E", text)
        events.raise_event("E", {"a": 1})
        connector.kafka_publish("k", b"x")
        producer.publish(b"x")
        producer.flush(0.5)
        said += [repr(producer), repr(producer.socket), repr(producer.socket.cluster), repr(producer.stats())]
        said += [json.dumps(producer.rdkafka_stats()), json.dumps(events.subscribers_list()), repr(events.stats())]
        said += [json.dumps(events.events_list()), repr(vars(producer)), repr(producer.client), repr(connector)]
        with pytest.raises(ConfigError) as caught:
            events.subscribe_event("E", f"{text}&g.nonsense=1")
        said.append(repr(caught.value))
        producer.purge()
        events.close(0)
        connector.close(0)
    said += [record.getMessage() for record in caplog.records]
    assert len(caplog.records) > 10
    assert not [one for one in said if SECRET in one]


# Commands


def command(*arguments, stdin="", **environment):
    return subprocess.run(
        [sys.executable, "-m", "pykafkaevt", *arguments],
        input=stdin,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def socket_text(tmp_path, kafka_embedded):
    """A socket with secrets that commands are to read."""
    (tmp_path / "id").write_text(SECRET + "\n")
    properties = f"g.sasl.password=@env:KAFKA_SECRET&g.client.id=@file:{tmp_path}/id&g.linger.ms=@env:LINGER"
    return f"kafka:{kafka_embedded.bootstrap_servers}/t?{properties}"


COMMANDS = [
    (("check", "--connect"), ()),
    (("publish",), ("--event", "E")),
    (("tail",), ("--from", "beginning", "--count", "1")),
    (("bench",), ("--num-records", "100", "--compare", "confluent", "--repeat", "1")),
    (("bridge", "--check", "stdin:", "--to"), ()),
]


@pytest.mark.parametrize(("before", "behind"), COMMANDS)
def test_commands_read_values_and_do_not_show_them(socket_text, kafka_embedded, before, behind):
    with Producer(f"kafka:{kafka_embedded.bootstrap_servers}/t") as producer:
        producer.publish(b'{"jsonrpc":"2.0","method":"E"}')
    ended = command(*before, socket_text, *behind, stdin="{}\n", KAFKA_SECRET=SECRET, LINGER="5")
    assert ended.returncode == 0, ended.stderr
    assert SECRET not in ended.stdout + ended.stderr
    if before[0] in ("check", "bridge"):
        assert "@env:KAFKA_SECRET" in ended.stdout
    missing = command(*before, socket_text, *behind, stdin="{}\n", KAFKA_SECRET=SECRET)
    assert missing.returncode == 2
    assert "g.linger.ms: there is no environment variable 'LINGER'" in missing.stderr
    assert SECRET not in missing.stdout + missing.stderr
    wrong = command(*before, socket_text, *behind, stdin="{}\n", KAFKA_SECRET="x", LINGER=f"{SECRET},1")
    assert wrong.returncode == 2
    assert SECRET not in wrong.stdout + wrong.stderr


def test_a_peer_with_a_command_line_gets_no_values_from_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("PYKAFKAEVT_PEERS", str(tmp_path))
    (tmp_path / "c").write_text("")
    (tmp_path / "c").chmod(0o755)
    spec = {"socket": AWAY, "records": 1, "payload_file": None}
    for properties, reason in (
        ("g.client.id=x", None),
        ("g.client.id=@env:X", "secrets"),
        ("g.client.id=@@x", "secrets"),
    ):
        said = why_absent("c", {**spec, "settings": settings_of(parse_socket(f"{AWAY}?{properties}"))})
        assert (said is None) if reason is None else (reason in said)


def free_port(kind):
    with socket.socket(socket.AF_INET, kind) as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_a_bridge_shows_no_value_on_its_pages_and_in_its_log(socket_text):
    udp, tcp = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_STREAM)
    arguments = [f"udp://127.0.0.1:{udp}", "--to", socket_text, "--http", f"127.0.0.1:{tcp}", "--log-level", "debug"]
    arguments += ["--dead-letter", f"{AWAY}?g.sasl.password=@env:KAFKA_SECRET&g.sasl.username=@env:KAFKA_SECRET"]
    with subprocess.Popen(
        [sys.executable, "-m", "pykafkaevt", "bridge", *arguments],
        env={**os.environ, "KAFKA_SECRET": SECRET, "LINGER": "5"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as bridge:
        try:
            pages = [page(tcp, path) for path in ("/metrics", "/api/snapshot", "/", "/healthz", "/readyz")]
        finally:
            bridge.send_signal(signal.SIGTERM)
            log, _ = bridge.communicate(timeout=60)
    assert all(pages)
    assert not [one for one in (*pages, log) if SECRET in one]


def page(port, path):
    """The page of a bridge, which may be starting."""
    for _ in range(200):
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        time.sleep(0.05)
    raise AssertionError(f"no {path}")
