"""The bridge's configuration, its logs and its command, without a daemon."""

import json
import logging
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from click import Context
from click.testing import CliRunner
from msgspec import NODEFAULT
from msgspec.structs import fields

from pykafkaevt.bridge.config import BridgeConfig, Input, Route, from_options, from_toml, parse_input
from pykafkaevt.bridge.logs import JsonLines, TextLines, configure
from pykafkaevt.cli.bridge import bridge as command
from pykafkaevt.cli.bridge import shown_default
from pykafkaevt.cli.commands import commands
from pykafkaevt.errors import ConfigError
from pykafkaevt.sockets import parse_socket

UDP = 'input = ["udp://127.0.0.1:5050"]\n'
SECURE = "kafka:h/t?g.security.protocol=sasl_ssl&g.sasl.mechanism=PLAIN&g.sasl.username=u&g.sasl.password=hunter2"
EVERY_KEY = """
input = ["udp://127.0.0.1:5050", "hep://127.0.0.1:9060", "file:/var/log/events"]
to = "kafka:h/sip?key=callid"
route = ["E_ACC_*=kafka:h/acc", "E_?=kafka:h/short?g.linger.ms=5"]
key_field = ["callid"]
time_field = "time"
headers = "cloudevents"
raw = true
method = "E_LINE"
speed = 2
dead_letter = "kafka:h/dead"
allow = ["192.0.2.0/24", "2001:db8::1"]
hep_key = ["@file:/etc/hep.key", "@env:HEP_KEY_OF_BEFORE"]
max_size = 1000
workers = 2
gather = 2.5
receive_buffer = 65536
control = "/run/bridge.sock"
http = "127.0.0.1:8080"
http_token = "/etc/bridge.token"
drain = 2.5
stats_interval = 0
log_format = "json"
log_level = "debug"
"""


@pytest.fixture
def toml(tmp_path):
    def write(text):
        path = tmp_path / "bridge.toml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port", "path", "transport"),
    [
        ("udp://127.0.0.1:5050", "udp", "127.0.0.1", 5050, None, "udp"),
        ("udp://[::]:1", "udp", "::", 1, None, "udp"),
        ("tcp://events.example:65535", "tcp", "events.example", 65535, None, "tcp"),
        ("hep://0.0.0.0:9060", "hep", "0.0.0.0", 9060, None, "udp"),
        ("hep+tcp://[2001:db8::1]:9061", "hep+tcp", "2001:db8::1", 9061, None, "tcp"),
        ("unix:/run/e.sock", "unix", "", 0, Path("/run/e.sock"), "unix"),
        ("stdin:", "stdin", "", 0, None, ""),
        ("file:a b", "file", "", 0, Path("a b"), ""),
        ("pcap:/c.pcap", "pcap", "", 0, Path("/c.pcap"), ""),
    ],
)
def test_an_input_is_a_url(url, scheme, host, port, path, transport):
    source = parse_input(url)
    assert (source.url, source.scheme, source.host, source.port, source.path) == (url, scheme, host, port, path)
    assert source.transport == transport
    assert source == Input(url, scheme, host, port, path)
    assert repr(source) == f"Input({url!r})"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "begins with none of udp:, unix:, tcp:, tcp+tls:, hep:, hep+tcp:, hep+tls:, stdin:, file:, pcap:"),
        ("http://h:1", "begins with none of"),
        ("UDP://h:1", "begins with none of"),
        ("udp:127.0.0.1:5050", "is no udp://HOST:PORT"),
        ("udp://127.0.0.1", "with a port of 1 to 65535"),
        ("udp://h:0", "with a port of 1 to 65535"),
        ("udp://h:65536", "with a port of 1 to 65535"),
        ("udp://h:\u0661", "with a port of 1 to 65535"),
        ("udp://h:5050/", "with a port of 1 to 65535"),
        ("udp://:5050", "has no host"),
        ("udp://::1:5050", "an IPv6 address has [ ] around it"),
        ("udp://[::g]:5050", "does not appear to be an IPv4 or IPv6 address"),
        ("udp://[127.0.0.1]:5050", "is no IPv6 address"),
        ("udp://u@h:5050", "is no host"),
        ("unix:", "missing path"),
        ("unix:/" + 107 * "x", "at most 107 bytes"),
        ("file:", "missing path"),
        ("file:a\x1bb", "has a control character"),
        ("stdin:x", "nothing follows stdin:"),
    ],
)
def test_a_bad_input_says_why(url, reason):
    with pytest.raises(ConfigError, match=r"^--input: ") as caught:
        from_options({"input": [url]})
    assert reason in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("kafka:h/t?g.sasl.password=hunter2", "'kafka:…' begins with none of udp:"),
        ("[k1]h/t?g.sasl.password=hunter2", "it begins with none of udp:"),
        ("g.sasl.password=hunter2:x", "it begins with none of udp:"),
        ("hep+udp://h:1", "'hep+udp:…' begins with none of udp:"),
    ],
)
def test_a_kafka_socket_where_an_input_should_be_shows_no_secret(url, shown):
    with pytest.raises(ConfigError) as caught:
        from_options({"input": [url]})
    assert str(caught.value).startswith(f"--input: {shown}")
    assert "hunter2" not in str(caught.value)


def test_every_key_of_a_toml_file_has_its_field(toml):
    config = from_toml(toml(EVERY_KEY))
    urls = ("udp://127.0.0.1:5050", "hep://127.0.0.1:9060", "file:/var/log/events")
    assert config.inputs == tuple(map(parse_input, urls))
    assert config.allow == ("192.0.2.0/24", "2001:db8::1")
    assert config.hep_keys == ("@file:/etc/hep.key", "@env:HEP_KEY_OF_BEFORE")
    assert config.to == config.default == parse_socket("kafka:h/sip?key=callid")
    assert config.routes == (
        Route("E_ACC_*", parse_socket("kafka:h/acc")),
        Route("E_?", parse_socket("kafka:h/short?g.linger.ms=5")),
    )
    assert (config.key_fields, config.time_field, config.headers) == (("callid",), "time", "cloudevents")
    assert (config.raw, config.method, config.speed) == (True, "E_LINE", 2.0)
    assert config.dead_letter == parse_socket("kafka:h/dead")
    assert (config.max_size, config.workers, config.receive_buffer) == (1000, 2, 65536)
    assert config.gather == 2.5
    assert (config.control, config.http) == (Path("/run/bridge.sock"), ("127.0.0.1", 8080))
    assert config.http_token == Path("/etc/bridge.token")
    assert (config.drain, config.stats_interval, config.log_format, config.log_level) == (2.5, 0, "json", "debug")


def test_what_is_not_given_has_its_default():
    config = from_options({"input": ["stdin:"]})
    assert config == BridgeConfig(inputs=(parse_input("stdin:"),))
    assert config.to is None
    assert config.default == parse_socket("kafka:embedded/bridge?key=callid")
    assert config.key_fields == ("callid", "call_id", "Call-ID")
    assert (config.max_size, config.workers, config.receive_buffer, config.drain) == (65536, 1, 8 << 20, 10)


def test_each_option_of_the_command_is_a_key_of_the_file():
    options = {one.name for one in command.get_params(Context(command, help_option_names=[]))} - {
        "urls",
        "file",
        "check",
    }
    assert options == set(BridgeConfig.__struct_encode_fields__)
    assert {line.split(" = ")[0] for line in EVERY_KEY.split("\n") if line} == options


def test_the_table_of_the_document_has_each_option_with_its_default():
    text = (Path(__file__).parents[2] / "docs" / "bridge.md").read_text()
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| `--")]
    documented = {row[1].split("`")[1].split(" ")[0][2:]: row[2].replace("`", "").strip() for row in rows}
    for field in fields(BridgeConfig):
        name = field.encode_name.replace("_", "-")
        given = field.default not in (NODEFAULT, None, ())
        default = shown_default(name, field.default) if given else ""
        words = "an embedded broker" if name == "to" else f"--{default}" if name == "raw" else default
        assert documented[name] == words, name


@pytest.mark.parametrize(
    "line",
    [
        "--to SOCKET",
        "--route PATTERN=SOCKET",
        "--key-field NAME",
        "[default: callid, call_id, Call-ID]",
        "--speed FLOAT",
        "--drain FLOAT",
        "[default: 10]",
        "--receive-buffer INTEGER",
        "[default: 8388608]",
        "--control PATH",
        "--allow CIDR",
        "--hep-key @file:PATH",
        "--http HOST:PORT",
        "--http-token PATH",
        "--log-format [text|json]",
    ],
)
def test_the_help_is_that_of_the_fields(line):
    words = " ".join(run("--help").stdout.split())
    assert line in words
    for field in fields(BridgeConfig):
        assert field.type.__metadata__[-1].description in words


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "{file}: input: missing"),
        ("input = []", "{file}: input: Expected `array` of length >= 1"),
        ('input = "udp://h:1"', "{file}: input: Expected `array`, got `str`"),
        ('input = ["udp://h:1", 1]', "{file}: input, item 2: Expected `str`, got `int`"),
        ('input = ["udp://h:1", "udp://h"]', "{file}: input, item 2: 'h' is no HOST:PORT"),
        ('input = ["udp://h:1", "hep://h:1"]', "{file}: input: hep://h:1 is at the place of udp://h:1"),
        ('input = ["stdin:", "stdin:"]', "{file}: input: stdin: is at the place of stdin:"),
        (UDP + "wrokers = 2", "{file}: unknown key `wrokers`"),
        (UDP + 'workers = "2"', "{file}: workers: Expected `int`, got `str`"),
        (UDP + "workers = true", "{file}: workers: Expected `int`, got `bool`"),
        (UDP + "workers = 0", "{file}: workers: Expected `int` >= 1"),
        (UDP + "raw = 1", "{file}: raw: Expected `bool`, got `int`"),
        (UDP + "drain = nan", "{file}: drain: Expected `float` >= 0"),
        (UDP + "drain = inf", "{file}: drain: Expected `float` <= 3600"),
        (UDP + 'headers = "all"', "{file}: headers: Invalid enum value 'all'"),
        (UDP + 'key_field = [""]', "{file}: key_field, item 1: Expected `str` of length >= 1"),
        (UDP + "to = 1", "{file}: to: Expected `str`, got `int`"),
        (UDP + 'to = "kafka:h/"', "{file}: to: missing topic at position 8\n"),
        (UDP + 'route = ["a=kafka:h/t", "kafka:h/t?key=callid"]', "{file}: route, item 2: is no PATTERN=SOCKET"),
        (UDP + 'route = ["=kafka:h/t"]', "{file}: route, item 1: is no PATTERN=SOCKET"),
        (UDP + 'route = ["a\\u0007=kafka:h/t"]', "{file}: route, item 1: the pattern has a control character"),
        (UDP + 'method = "E"', "{file}: method: is for the plain objects of stdin: and file:"),
        (UDP + 'http = "0.0.0.0:80"', "{file}: http: 0.0.0.0 is no loopback address"),
        (UDP + 'http = "[::]:80"', "{file}: http: :: is no loopback address"),
        (UDP + 'http = "sip.example:80"', "{file}: http: sip.example is no loopback address"),
        (UDP + 'http = "8080"', "{file}: http: '8080' is no HOST:PORT"),
        (UDP + 'http_token = "/t"', "{file}: http_token: is for http, which is not given"),
        (UDP + 'http = "127.0.0.1:80"\nhttp_token = ""', "{file}: http_token: missing path"),
        ('input = ["unix:/a"]\ncontrol = "/a"', "{file}: control: /a is an input"),
        ("input = [", "{file}: Invalid value (at end of document)"),
        (UDP + "workers = 1\nworkers = 2\n", "{file}: Cannot overwrite a value (at "),
    ],
)
def test_a_mistake_in_a_file_has_its_file_key_and_place(toml, text, message):
    path = toml(text)
    with pytest.raises(ConfigError) as caught:
        from_toml(path)
    assert str(caught.value).startswith(message.format(file=path))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "No such file or directory"),
        (lambda path: path.mkdir(), "Is a directory"),
        (lambda path: path.write_bytes(b'to = "\xff"'), "byte 6 is not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, make, reason):
    path = tmp_path / "bridge.toml"
    make(path)
    with pytest.raises(ConfigError) as caught:
        from_toml(path)
    assert str(caught.value) == f"{path}: {reason}"


@pytest.mark.parametrize(
    "text",
    [
        'to = "kafka:h?g.sasl.password=hunter2"',
        'route = ["kafka:h/t?g.sasl.password=hunter2"]',
        'route = ["a=kafka:h?g.sasl.password=hunter2"]',
        'dead_letter = "kafka:h/t?g.sasl.password=hunter2&x"',
    ],
)
def test_no_error_shows_a_secret(toml, text):
    with pytest.raises(ConfigError) as caught:
        from_toml(toml(UDP + text))
    assert "hunter2" not in f"{caught.value} {caught.value!r}"


def test_no_repr_shows_a_secret():
    socket = "kafka:h/t?g.sasl.password=hunter2"
    config = from_options({"input": ["stdin:"], "to": socket, "route": [f"a={socket}"], "dead_letter": socket})
    assert "hunter2" not in repr(config)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"workers": 2, "raw": True}),
        ({"workers": None, "input": [], "route": ()}, {"workers": 2}),
        ({"workers": 3}, {"workers": 3}),
        ({"raw": False}, {"raw": False}),
        ({"drain": 0.0}, {"drain": 0.0}),
        ({"input": ["hep://h:1"]}, {"inputs": (parse_input("hep://h:1"),)}),
        ({"route": ["x=kafka:h/x"]}, {"routes": (Route("x", parse_socket("kafka:h/x")),)}),
    ],
)
def test_an_option_wins_over_the_file_lists_as_a_whole(toml, options, expected):
    path = toml(EVERY_KEY.replace('method = "E_LINE"\n', ""))
    config = from_options(options, path)
    assert {name: getattr(config, name) for name in expected} == expected


def test_a_bad_option_over_a_good_file_is_named_as_the_option(toml):
    with pytest.raises(ConfigError, match=r"^--max-size: Expected `int` >= 64$"):
        from_options({"max_size": 1}, toml(EVERY_KEY))


@pytest.mark.parametrize(
    ("http", "address"),
    [("127.0.0.1:80", ("127.0.0.1", 80)), ("127.9.9.9:80", ("127.9.9.9", 80)), ("[::1]:80", ("::1", 80)),
     ("localhost:80", ("127.0.0.1", 80))],
)  # fmt: skip
def test_http_is_on_loopback(http, address):
    assert from_options({"input": ["stdin:"], "http": http}).http == address


# logs


def logged(formatter, message, *arguments, extra=None, exc_info=None, level=logging.WARNING):
    record = logging.getLogger("pykafkaevt.bridge").makeRecord(
        "pykafkaevt.bridge", level, __file__, 1, message, arguments, exc_info, extra=extra
    )
    record.created = 1769860800.1234
    return formatter.format(record)


@pytest.mark.parametrize(
    ("message", "extra", "line"),
    [
        ("ready", None, "ready"),
        ("ready", {"inputs": 2, "up": True}, "ready inputs=2 up=True"),
        ("bad", {"source": "[::1]:5060", "excerpt": 'a "b"'}, 'bad source=[::1]:5060 excerpt="a \\"b\\""'),
        ("bad", {"excerpt": b"\xff\x1b["}, 'bad excerpt="\\\\xff\\u001b["'),
        ("a\nb\x1b[31m\u202e\x9b", None, "a\\nb\\u001b[31m\\u202e\\u009b"),
        ("bad", {"excerpt": ""}, 'bad excerpt=""'),
        ("bad", {"excerpt": "x\n2026 ERROR forged"}, 'bad excerpt="x\\n2026 ERROR forged"'),
        ("bad", {"excerpt": "a=b"}, 'bad excerpt="a=b"'),
    ],
)
def test_a_text_line(message, extra, line):
    assert logged(TextLines(), message, extra=extra) == (f"2026-01-31T12:00:00.123Z WARNING pykafkaevt.bridge: {line}")


@pytest.mark.parametrize(
    ("extra", "fields"),
    [
        (None, {}),
        ({"received": 5, "rate": 1.5, "none": None}, {"received": 5, "rate": 1.5, "none": None}),
        ({"excerpt": b"\xff\x1b\n"}, {"excerpt": "\\xff\x1b\n"}),
        ({"excerpt": "\u202e\U000e0001"}, {"excerpt": "\u202e\U000e0001"}),
        ({"excerpt": "\udc80"}, {"excerpt": "?"}),
        ({"big": 1 << 80}, {"big": 1 << 80}),
        ({"errors": {-192: 3}, "path": Path("/a")}, {"errors": {"-192": 3}, "path": "/a"}),
        ({"level": "x", "time": 1}, {"level_": "x", "time_": 1}),
    ],
)
def test_a_json_line_is_printable_json_and_holds_the_fields(extra, fields):
    line = logged(JsonLines(), "got %s", "\x1b[0m", extra=extra)
    assert line.isprintable()
    own = {
        "time": "2026-01-31T12:00:00.123Z",
        "level": "warning",
        "logger": "pykafkaevt.bridge",
        "message": "got \x1b[0m",
    }
    assert json.loads(line) == own | fields


@pytest.mark.parametrize("formatter", [TextLines(), JsonLines()])
def test_a_traceback_is_in_the_same_line(formatter):
    try:
        raise ValueError("a\nb")
    except ValueError:
        line = logged(formatter, "failed", exc_info=sys.exc_info())
    assert line.isprintable()
    assert "ValueError: a\\nb" in line


def test_configure_again_replaces_the_form_and_the_level():
    root = logging.getLogger()
    before = root.handlers[:], root.level
    stream = StringIO()
    try:
        configure("text", "error", stream)
        configure("json", "warning", stream)
        logging.getLogger("pykafkaevt.bridge").info("not shown")
        logging.getLogger("pykafkaevt.bridge").warning("shown", extra={"n": 1})
    finally:
        root.handlers[:], root.level = before
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["n"] == 1


# the command


def run(*arguments):
    return CliRunner().invoke(commands, ["bridge", *map(str, arguments)])


def test_check_prints_what_would_run_without_secrets(toml, tmp_path, monkeypatch):
    monkeypatch.setenv("HEP_KEY_OF_BEFORE", "hunter2")
    (tmp_path / "hep.key").write_text("hunter2\n")
    (tmp_path / "events").touch()
    (tmp_path / "bridge.token").write_text("hunter2hunter2hunter2")
    (tmp_path / "bridge.token").chmod(0o600)
    text = EVERY_KEY.replace("/var/log/events", str(tmp_path / "events"))
    text = text.replace("/run/", f"{tmp_path}/").replace("/etc/", f"{tmp_path}/")
    result = run("--config", toml(text), "--to", SECURE, "--workers", 4, "--check")
    assert result.exit_code == 0, result.output
    lines = [line.split(None, 1) for line in result.stdout.splitlines()]
    assert ["input", "udp://127.0.0.1:5050"] in lines
    assert ["to", SECURE.replace("hunter2", "***")] in lines
    assert ["route", "E_ACC_*  kafka:h/acc"] in lines
    assert ["workers", "4"] in lines
    assert ["allow", "192.0.2.0/24, 2001:db8::1"] in lines
    assert ["hep_key", f"@file:{tmp_path}/hep.key, @env:HEP_KEY_OF_BEFORE"] in lines
    assert ["http", "127.0.0.1:8080"] in lines
    assert "hunter2" not in result.output
    assert "WARNING" not in result.output


def test_check_says_that_the_embedded_broker_forgets():
    result = run("udp://127.0.0.1:5050", "--check")
    assert result.exit_code == 0
    assert "WARNING: without --to the broker is inside the process and forgets the events" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Error: input: missing: where do the events come from?\n"),
        (["udp://h"], "Error: --input: 'h' is no HOST:PORT"),
        (["--input", "udp://h:1", "--input", "tcp:1"], "Error: --input: 'tcp:1' is no tcp://HOST:PORT"),
        (["udp://h:1", "--to", "kafka:h"], "Error: --to: missing topic at position 7\n  kafka:h\n"),
        (["udp://h:1", "--to", "kafka:h/t?g.nonsense=1"], "Error: to: g.nonsense: No such configuration property"),
        (["udp://h:1", "--route", "E=kafka:h/t?t.acks=x"], "Error: route E: t.acks: "),
        (["udp://h:1", "--dead-letter", "kafka:h/t?g.linger.ms=x"], "Error: dead_letter: g.linger.ms: "),
        (["udp://h:1", "--http", "0.0.0.0:80"], "Error: --http: 0.0.0.0 is no loopback address"),
        (["udp://h:1", "--headers", "all"], "Invalid value for '--headers'"),
        (["udp://h:1", "--workers", "0"], "Error: --workers: Expected `int` >= 1"),
        (["udp://h:1", "--control", "/nonexistent/c"], "Error: /nonexistent/c: its directory is not there"),
        (["file:/nonexistent"], "Error: file:/nonexistent: No such file or directory"),
        (["udp://h:1", "--config", "/nonexistent"], "Error: /nonexistent: No such file or directory"),
    ],
)
def test_check_exits_with_2_and_says_why(arguments, message):
    result = run(*arguments, "--check")
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


class Daemon:
    """In the place of the daemon: what it was given, and an exit code."""

    living = ()

    def __init__(self, config, reread):
        self.config, self.reread = config, reread
        Daemon.last = self

    def run(self):
        return 1


@pytest.fixture
def daemon(monkeypatch):
    module = type(sys)("pykafkaevt.bridge.daemon")
    module.Bridge = Daemon
    monkeypatch.setitem(sys.modules, "pykafkaevt.bridge.daemon", module)
    # the handler would outlive the test
    monkeypatch.setattr("pykafkaevt.bridge.logs.configure", lambda *form: setattr(Daemon, "log", form))


@pytest.mark.usefixtures("daemon")
def test_the_command_runs_the_daemon_and_exits_with_its_code(toml):
    path = toml(UDP + 'to = "kafka:h/t"\nworkers = 2\ndrain = 1')
    result = run("--config", path, "--workers", 3, "hep://h:9060", "--input", "tcp://h:5051")
    assert result.exit_code == 1
    assert result.stderr == ""
    config = Daemon.last.config
    assert [source.url for source in config.inputs] == ["hep://h:9060", "tcp://h:5051"]
    assert (config.workers, config.drain) == (3, 1)
    assert Daemon.log == ("text", "info")


@pytest.mark.usefixtures("daemon")
def test_threads_that_did_not_end_do_not_hold_up_the_exit(monkeypatch):
    codes = []
    monkeypatch.setattr(os, "_exit", codes.append)
    monkeypatch.setattr(Daemon, "living", ["pykafkaevt upkeep"])
    run("udp://h:1", "--to", "kafka:h/t")
    assert codes == [1]


@pytest.mark.usefixtures("daemon")
def test_reading_again_takes_the_changed_file_and_the_same_options(toml):
    run("--config", toml(UDP + "workers = 2\ndrain = 1"), "--workers", 3)
    toml(UDP + 'to = "kafka:h/new"\nworkers = 2\ndrain = 4')
    config = Daemon.last.reread()
    assert (config.workers, config.drain, config.to) == (3, 4, parse_socket("kafka:h/new"))


@pytest.mark.usefixtures("daemon")
def test_reading_again_without_a_file_gives_the_same():
    run("udp://h:1?allow=192.0.2.1", "--to", "kafka:h/t")
    assert Daemon.last.reread() == Daemon.last.config


@pytest.mark.usefixtures("daemon")
@pytest.mark.parametrize(("arguments", "loud"), [([], True), (["--to", "kafka:h/t"], False)])
def test_without_to_the_command_says_loudly_that_events_are_forgotten(arguments, loud):
    assert ("a broker inside this process that FORGETS them" in run("udp://h:1", *arguments).stderr) == loud


@pytest.mark.parametrize("missing", ["msgspec"])
def test_missing_bridge_parts_are_named_in_one_line(missing):
    code = f"import sys; sys.modules[{missing!r}] = None; from pykafkaevt.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "bridge", "stdin:"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "pykafkaevt needs its bridge parts: pip install 'pykafkaevt[bridge]'\n"


def test_the_unit_file_stops_later_than_the_default_drain():
    unit = (Path(__file__).parents[2] / "deploy" / "pykafkaevt-bridge.service").read_text()
    (seconds,) = [line.partition("=")[2] for line in unit.splitlines() if line.startswith("TimeoutStopSec=")]
    assert int(seconds) > BridgeConfig(inputs=()).drain
