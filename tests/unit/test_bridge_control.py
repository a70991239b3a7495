"""The bridge's control socket, HTTP server, page and `pykafkaevt ctl`, over a bridge that only answers."""

import asyncio
import copy
import http.client
import json
import os
import resource
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from importlib.resources import files
from pathlib import Path

import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from pykafkaevt.bridge import accepting, mi
from pykafkaevt.bridge import control as bridge_control
from pykafkaevt.bridge import http as bridge_http
from pykafkaevt.bridge.control import Control
from pykafkaevt.bridge.http import is_loopback
from pykafkaevt.bridge.http_token import read_token
from pykafkaevt.bridge.mi import MAX_REQUEST, METHODS
from pykafkaevt.cli import ctl as ctl_command
from pykafkaevt.cli.commands import commands
from pykafkaevt.errors import Closed, ConfigError, EventError
from pykafkaevt.log_rate import LogRate
from pykafkaevt.sockets import parse_socket

PATIENCE = 20  # seconds for what takes milliseconds

TARGET = {
    "socket": "kafka:h:9092/t",
    "topic": "t",
    "up": True,
    "error": None,
    "queued": 100,
    "delivered": 90,
    "failed": 3,
    "dropped": 2,
    "rejected": 1,
    "in_flight": 7,
    "bytes_delivered": 9000,
    "latency_p50_us": 1000,
    "latency_p90_us": 2000,
    "latency_p99_us": 3000,
    "latency_p999_us": 4000,
    "latency_max_us": 5000,
    "errors": {"_MSG_TIMED_OUT": 3},
}
SNAPSHOT = {
    "version": "1.2.3",
    "pid": 1,
    "started": 1_700_000_000.5,
    "uptime_s": 60.0,
    "ready": True,
    "draining": False,
    "inputs": [
        {
            "url": "udp://127.0.0.1:5050",
            "received": 110,
            "bytes": 11000,
            "queued": 100,
            "invalid": 8,
            "unrouted": 2,
            "kernel_drops": 5,
            "refused": 4,
            "failed_handshakes": 3,
            "connections": 0,
        }
    ],
    "targets": [TARGET],
    "invalid": {"syntax": 8},
    "events": {'E_"TEST"\n': 100},
    "subscribers": [{"event": "E_A", "socket": "kafka:h:9092/a", "expires_s": None}],
    "last_events": [{"time": 1_700_000_050.0, "event": "E_A", "key": None, "source": "127.0.0.1:1"}],
}


class FakeBridge:
    """A snapshot, and answers as the bridge gives them."""

    def __init__(self):
        self.broken = []
        self.state = copy.deepcopy(SNAPSHOT)
        self.calls = []
        self.gate = threading.Event()
        self.gate.set()

    def faults(self):
        return self.broken

    def snapshot(self):
        self.gate.wait(PATIENCE)
        return self.state

    def kafka_stats(self):
        return self.state

    def events_list(self):
        return {"Events": [{"name": "E_A", "id": 1}]}

    def subscribers_list(self, event=None, socket=None):
        if event == "E_NONE":
            raise EventError("Event not registered", 404)
        self.calls.append(("subscribers_list", event, socket))
        return {"Events": []}

    def event_subscribe(self, event, socket, expire=None):
        parse_socket(socket)
        self.calls.append(("event_subscribe", event, socket, expire))
        return "OK"

    def raise_event(self, event, params=None):
        if event == "E_CLOSED":
            raise Closed("the bridge is draining")
        if event == "E_BUG":
            raise KeyError("secret")
        self.calls.append(("raise_event", event, params))
        return "OK"

    def reload(self):
        raise ConfigError("bridge.toml: to", "missing topic")


@pytest.fixture
def bridge():
    return FakeBridge()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "control.sock"


@contextmanager
def running(*arguments):
    control = Control(*arguments)
    control.start()
    try:
        yield control
    finally:
        control.stop()


@pytest.fixture
def port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture
def connect(bridge, path):
    with running(bridge, path, None):
        made = []

        def connected():
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(PATIENCE)
            client.connect(str(path))
            made.append(client)
            return client

        yield connected
        for client in made:
            client.close()


@pytest.fixture
def ask(connect):
    client = connect()
    stream = client.makefile("rb")

    def asked(message):
        text = message if isinstance(message, bytes) else json.dumps(message).encode()
        client.sendall(text + b"\n")
        return json.loads(stream.readline())

    yield asked
    stream.close()


@pytest.fixture
def token(tmp_path):
    """The file of a token."""
    path = tmp_path / "token"
    path.touch(mode=0o600)
    path.write_text(f"{TOKEN}\n")
    return path


@pytest.fixture
def web(bridge, port, token):
    with running(bridge, None, ("127.0.0.1", port), token):

        def asked(method, target, body=None, **headers):
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
            try:
                client.request(method, target, body, {name.replace("_", "-"): text for name, text in headers.items()})
                response = client.getresponse()
                return response, response.read().decode()
            finally:
                client.close()

        yield asked


def request(method, params=None, **more):
    return {"jsonrpc": "2.0", "method": method, "id": 1, **({} if params is None else {"params": params}), **more}


# JSON-RPC


@pytest.mark.parametrize(
    ("method", "params", "call"),
    [
        ("subscribers_list", None, ("subscribers_list", None, None)),
        ("subscribers_list", [], ("subscribers_list", None, None)),
        ("subscribers_list", ["E"], ("subscribers_list", "E", None)),
        ("subscribers_list", {"event": "E", "socket": None}, ("subscribers_list", "E", None)),
        ("subscribers_list", {"socket": "kafka:h/t", "event": "E"}, ("subscribers_list", "E", "kafka:h/t")),
        ("event_subscribe", ["E", "kafka:h/t", 600], ("event_subscribe", "E", "kafka:h/t", 600)),
        ("event_subscribe", ["E", "kafka:h/t", "600"], ("event_subscribe", "E", "kafka:h/t", 600)),
        ("event_subscribe", {"event": "E", "socket": "kafka:h/t"}, ("event_subscribe", "E", "kafka:h/t", None)),
        ("raise_event", {"event": "E", "params": {"n": 1}}, ("raise_event", "E", {"n": 1})),
        ("raise_event", {"event": "E", "params": '{"n":1}'}, ("raise_event", "E", '{"n":1}')),
        ("raise_event", ["E"], ("raise_event", "E", None)),
    ],
)
def test_params_by_name_and_by_position(ask, bridge, method, params, call):
    assert "result" in ask(request(method, params))
    assert bridge.calls == [call]


def test_which_and_the_lists_have_the_shapes_of_mi(ask, bridge):
    assert ask(request("which"))["result"] == sorted(METHODS)
    assert ask(request("events_list")) == {
        "jsonrpc": "2.0",
        "result": {"Events": [{"name": "E_A", "id": 1}]},
        "id": 1,
    }
    assert ask(request("kafka_stats"))["result"] == SNAPSHOT


@pytest.mark.parametrize(
    ("message", "code", "data"),
    [
        (b"{", -32700, "unexpected end"),
        (b"\xff", -32700, "UTF-8"),
        (b"[" * 10_000, -32700, "limit"),
        (b"[]", -32600, "an empty batch"),
        (b"[" + b",".join([b"1"] * 101) + b"]", -32600, "a batch has at most 100 calls"),
        (b"1", -32600, "a request is an object"),
        ({"method": "which", "id": 1}, -32600, 'jsonrpc must be "2.0"'),
        (request("which", jsonrpc="1.0"), -32600, 'jsonrpc must be "2.0"'),
        (request(1), -32600, "method must be a string"),
        (request("which", id=[1]), -32600, "id must be"),
        (request("which", id=True), -32600, "id must be"),
        (request("which", "text"), -32600, "params must be an object or an array"),
        (request("shutdown"), -32601, None),
        (request("snapshot"), -32601, None),
        (request("__init__"), -32601, None),
        (request("which", [1]), -32602, "which has 0 parameters at most"),
        (request("raise_event"), -32602, "raise_event needs event"),
        (request("raise_event", {"event": 1}), -32602, "event must be a string"),
        (request("event_subscribe", ["E"]), -32602, "event_subscribe needs socket"),
        (request("event_subscribe", {"events": "E"}), -32602, "event_subscribe has no parameter 'events'"),
        (request("event_subscribe", ["E", "kafka:h/t", True]), -32602, "expire must be a number"),
        (request("event_subscribe", ["E", "kafka:h/t", "soon"]), -32602, "expire must be a number"),
        *(
            (request("event_subscribe", ["E", "kafka:h/t", expire]), -32602, "expire must be from 0 to 2147483647")
            for expire in ("nan", "inf", "-inf", -1, "-0.5", 2**31, 1e300, "1e400", 10**30)
        ),
        (request("event_subscribe", ["E", "kafka:h"]), -32602, "position"),
        (request("subscribers_list", ["E_NONE"]), 404, None),
        (request("raise_event", ["E_CLOSED"]), 500, None),
        (request("reload"), 500, None),
        (request("raise_event", ["E_BUG"]), -32603, None),
    ],
)
def test_errors_have_the_codes_of_json_rpc_and_of_mi(ask, bridge, message, code, data):
    answer = ask(message)
    assert answer["jsonrpc"] == "2.0"
    assert answer["error"]["code"] == code
    assert (data is None) == ("data" not in answer["error"])
    assert data is None or data in answer["error"]["data"]
    assert bridge.calls == []
    known = isinstance(message, dict) and not isinstance(message["id"], (bool, list))
    assert answer["id"] == (1 if known else None)
    assert "secret" not in str(answer)


def test_a_bad_sockets_secrets_are_masked(ask):
    answer = ask(request("event_subscribe", ["E", "kafka:h/t?g.sasl.password=hunter2&x"]))
    assert answer["error"]["code"] == -32602
    assert "hunter2" not in str(answer)


@pytest.mark.parametrize("number", ["a", 0, -1, 1.5, None])
def test_an_id_comes_back_as_it_was(ask, number):
    assert ask(request("which", id=number))["id"] == number


def test_a_batch_has_answers_for_all_but_notifications(ask):
    notification = {"jsonrpc": "2.0", "method": "raise_event", "params": ["E"]}
    answers = ask([request("which", id=1), notification, 1, request("none", id=2)])
    assert [(one["id"], "error" in one) for one in answers] == [(1, False), (None, True), (2, True)]


def test_notifications_have_no_answer_even_when_they_fail(ask, bridge):
    quiet = {"jsonrpc": "2.0", "method": "raise_event", "params": ["E"]}
    lines = [quiet, [quiet], {**quiet, "params": ["E_BUG"]}, {**quiet, "method": "none"}, request("which", id="end")]
    answer = ask(b"\n\n".join(json.dumps(line).encode() for line in lines))
    assert answer["id"] == "end"
    assert bridge.calls == [("raise_event", "E", None)] * 2


@pytest.mark.parametrize("state", [{"x": "y" * mi.MAX_ANSWER}, {"x": ["\x01" * 200_000]}])
def test_an_answer_that_is_too_large_is_an_error(ask, bridge, state):
    bridge.state = state
    error = ask(request("kafka_stats"))["error"]
    assert (error["code"], error["data"]) == (-32000, "the answers to a request have at most 1048576 bytes")


def test_the_answers_of_a_batch_are_bounded_together(ask, bridge):
    bridge.state = {"x": "y" * (mi.MAX_ANSWER // 3)}
    answers = ask([request("kafka_stats") for _ in range(99)] + [request("raise_event", ["E"])])
    assert [one["error"]["code"] for one in answers if "error" in one][:1] == [-32000]
    assert len(answers) == 100
    assert sum("result" in one for one in answers) in (2, 3)
    assert len(json.dumps(answers)) < mi.MAX_ANSWER * 1.1


def test_an_error_repeats_no_long_text(ask):
    error = ask(request("raise_event", {"\x01" * 100_000: 1}))["error"]
    assert len(json.dumps(error)) < 10_000


def test_what_fails_at_each_call_is_logged_now_and_then(ask, caplog, monkeypatch):
    monkeypatch.setattr(mi, "bugs_rate", LogRate(3, 60))
    for _ in range(50):
        assert ask(request("raise_event", ["E_BUG"]))["error"]["code"] == -32603
    assert len(caplog.records) == 3


# The unix socket


def test_requests_cut_anywhere_and_several_at_once(connect):
    client = connect()
    line = json.dumps(request("which")).encode() + b"\n"
    for byte in line:
        client.sendall(bytes([byte]))
    client.sendall(line * 3)
    with client.makefile("rb") as stream:
        assert [json.loads(stream.readline())["id"] for _ in range(4)] == [1] * 4


def test_the_last_request_needs_no_newline(connect):
    client = connect()
    client.sendall(json.dumps(request("which")).encode())
    client.shutdown(socket.SHUT_WR)
    with client.makefile("rb") as stream:
        assert json.loads(stream.read())["id"] == 1


def test_a_request_too_large_ends_the_connection_and_no_other(connect, ask):
    client = connect()
    with pytest.raises(OSError, match=r"pipe|reset"):
        client.sendall(b"x" * (8 * MAX_REQUEST))
    assert ask(request("which"))["id"] == 1


def test_many_clients_at_once_and_one_too_many_is_closed(connect, monkeypatch):
    monkeypatch.setattr(bridge_control, "MAX_CLIENTS", 50)
    clients = [connect() for _ in range(50)]
    line = json.dumps(request("which")).encode() + b"\n"
    for client in clients:
        client.sendall(line)
    for client in clients:
        with client.makefile("rb") as stream:
            assert json.loads(stream.readline())["id"] == 1
    assert connect().recv(1) == b""


def test_the_socket_is_of_its_owner_alone_and_gone_at_the_end(bridge, path):
    with running(bridge, path, None) as control:
        assert stat.filemode(path.stat().st_mode) == "srw-------"
        control.stop()
        assert not path.exists()


def test_a_stale_socket_is_replaced(bridge, path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with running(bridge, path, None), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_live_socket_is_refused_and_left_alone(bridge, path):
    with running(bridge, path, None):
        with pytest.raises(ConfigError, match="another process answers"):
            Control(bridge, path, None).start()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_another_ones_socket_is_left_at_the_end(bridge, path):
    with running(bridge, path, None):
        path.unlink()
        path.touch()
    assert path.exists()


@pytest.mark.parametrize(
    ("place", "reason"), [("file", "no socket"), ("missing/socket", "No such file"), ("x" * 200, "too long")]
)
def test_where_no_socket_can_be(bridge, tmp_path, place, reason):
    (tmp_path / "file").write_text("kept")
    control = Control(bridge, tmp_path / place, None)
    with pytest.raises(ConfigError, match=reason):
        control.start()
    control.stop()
    assert (tmp_path / "file").read_text() == "kept"


def test_a_taken_port_is_a_config_error_and_the_socket_goes(bridge, path):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with pytest.raises(ConfigError, match="already in use"):
            Control(bridge, path, listener.getsockname()).start()
    assert not path.exists()


def test_without_socket_and_http_nothing_runs(bridge):
    before = threading.active_count()
    with running(bridge, None, None):
        assert threading.active_count() == before


def test_stop_cuts_open_connections_at_once(bridge, path, port):
    with running(bridge, path, ("127.0.0.1", port)) as control, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        with socket.create_connection(("127.0.0.1", port)):
            before = time.monotonic()
            control.stop()
            assert time.monotonic() - before < 5
        assert client.recv(1) == b""


def test_stop_waits_no_longer_than_it_may_and_names_what_still_runs(bridge, path):
    bridge.gate.clear()
    ended = threading.Event()
    with running(bridge, path, None) as control:
        control.calls.lookers.submit(bridge.snapshot).add_done_callback(lambda _: ended.set())
        before = time.monotonic()
        control.stop(0.2)
        assert time.monotonic() - before < 1
        assert [one.name for one in control.threads() if one.name.endswith("look_0")]
        bridge.gate.set()
        assert ended.wait(PATIENCE)


# HTTP

TOKEN = "correct-horse-battery"
JSON = {"Content_Type": "application/json"}
BEARER = {**JSON, "Authorization": f"Bearer {TOKEN}"}


def test_mi_by_http(web):
    response, body = web("POST", "/mi", json.dumps(request("which")), **BEARER)
    assert (response.status, response.headers["Content-Type"]) == (200, "application/json")
    assert json.loads(body)["result"] == sorted(METHODS)
    response, body = web("POST", "/mi", b'{"jsonrpc":"2.0","method":"which"}', **JSON)
    assert (response.status, body) == (204, "")


READ_ONLY = ["events_list", "kafka_stats", "subscribers_list", "which"]
CHANGING = [
    request("event_subscribe", ["E", "kafka:h/t"]),
    request("raise_event", ["E"]),
    request("reload"),
]


@pytest.mark.parametrize("has_token", [True, False])
def test_http_without_a_token_only_reads(bridge, port, token, has_token):
    with running(bridge, None, ("127.0.0.1", port), token if has_token else None):
        ask = partial(post, port)
        assert ask(request("which"))["result"] == READ_ONLY
        for method in READ_ONLY:
            assert "result" in ask(request(method))
        for one in CHANGING:
            error = ask(one)["error"]
            assert (error["code"], error["message"]) == (403, "Forbidden")
            assert error["data"] == f"{one['method']} by HTTP needs the token of --http-token"
        answers = ask([*CHANGING, request("which")])
        assert [one.get("error", {}).get("code") for one in answers] == [403, 403, 403, None]
    assert [call for call in bridge.calls if call[0] != "subscribers_list"] == []


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer  {TOKEN}", 200),
        (f"Bearer {TOKEN}x", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        (f"Basic {TOKEN}", 401),
        (TOKEN, 401),
        ("Bearer", 401),
        ("", 401),
        ("Bearer \xff", 401),
    ],
)
def test_the_token_lets_http_change_something(web, bridge, authorization, status):
    response, body = web("POST", "/mi", json.dumps(CHANGING[1]), **JSON, Authorization=authorization)
    assert response.status == status
    assert bool(bridge.calls) == (status == 200)
    assert TOKEN not in f"{body} {response.headers}"
    assert (response.headers["WWW-Authenticate"] == "Bearer") == (status == 401)


def test_a_token_for_a_bridge_that_has_none_is_forbidden(bridge, port):
    with running(bridge, None, ("127.0.0.1", port)):
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        client.request("POST", "/mi", b"{}", {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"})
        response = client.getresponse()
        assert (response.status, response.read()) == (403, b"the bridge has no --http-token: HTTP only reads\n")
        client.close()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.mkdir(0o700), "Is a directory"),
        (lambda path: os.mkfifo(path, 0o600), "is no regular file"),
        (lambda path: written(path, TOKEN, 0o644), "is open to all users: chmod o-rwx"),
        (lambda path: written(path, TOKEN, 0o602), "is open to all users: chmod o-rwx"),
        (lambda path: written(path, "", 0o600), "must hold 16 to 1024 visible ASCII characters"),
        (lambda path: written(path, "hunter2", 0o600), "must hold 16"),
        (lambda path: written(path, "hunter2 " * 10, 0o600), "must hold 16"),
        (lambda path: written(path, "hunter2\n" * 10, 0o600), "must hold 16"),
        (lambda path: written(path, "hunter2\xe4" * 10, 0o600), "must hold 16"),
        (lambda path: written(path, "hunter2" * 1000, 0o600), "must hold 16"),
    ],
)
def test_a_token_file_that_cannot_be_used(bridge, tmp_path, make, reason):
    path = tmp_path / "token"
    make(path)
    with pytest.raises(ConfigError, match=reason) as caught:
        Control(bridge, None, ("127.0.0.1", 1), path)
    assert caught.value.property == "http_token"
    assert "hunter2" not in f"{caught.value!r}"


def test_a_token_is_never_shown(token):
    read = read_token(token)
    assert TOKEN not in f"{read} {read!r}"
    assert not hasattr(read, "__dict__")


def test_a_group_may_read_the_token(tmp_path):
    assert read_token(written(tmp_path / "token", f" {TOKEN}\n", 0o640)).authorization == f"Bearer {TOKEN}"


def written(path, text, mode):
    path.touch()
    path.chmod(mode)
    path.write_text(text)
    return path


def post(port, message):
    """The answer to a request without a token."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    client.request("POST", "/mi", json.dumps(message), {"Content-Type": "application/json"})
    answer = json.loads(client.getresponse().read())
    client.close()
    return answer


# Limits of HTTP


def ends(client):
    """Whether the other side has closed the connection; what it sent before is read."""
    try:
        while client.recv(65536):
            pass
    except ConnectionError:
        pass
    return True


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: y\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /mi HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{",
        b"POST /mi HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
    ],
)
def test_a_slow_connection_is_closed(bridge, port, monkeypatch, sent):
    monkeypatch.setattr(bridge_http, "IDLE", 0.3)
    monkeypatch.setattr(bridge_http, "READING_SECONDS", 0.3)
    monkeypatch.setattr(bridge_http, "LINGERING", 0.1)
    with running(bridge, None, ("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port), 5) as client:
        client.sendall(sent)
        before = time.monotonic()
        assert ends(client)
        assert time.monotonic() - before < 3


def test_no_connection_lasts_for_ever(bridge, port, monkeypatch):
    monkeypatch.setattr(bridge_http, "LASTING", 0.5)
    with running(bridge, None, ("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port), 5) as client:
        started = time.monotonic()
        with suppress(ConnectionError):
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            while client.recv(65536):
                client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert 0.4 < time.monotonic() - started < 5


def test_connections_beyond_the_limit_are_closed_and_others_go_on(bridge, path, port, monkeypatch, caplog):
    monkeypatch.setattr(bridge_http, "CONNECTIONS", 8)
    with running(bridge, path, ("127.0.0.1", port)), ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 5)) for _ in range(300)]
        for one in slow[8:]:
            assert ends(one)
        assert 1 <= len([one for one in caplog.records if "one connection too many" in one.getMessage()]) <= 3
        slow[0].sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert slow[0].recv(12) == b"HTTP/1.1 200"
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1)
            client.connect(str(path))
            client.sendall(json.dumps(request("which")).encode() + b"\n")
            assert client.recv(10)
        for one in slow[:8]:
            one.close()
        deadline = time.monotonic() + PATIENCE
        while True:
            with socket.create_connection(("127.0.0.1", port), 5) as client, suppress(ConnectionError):
                client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                if client.recv(12) == b"HTTP/1.1 200":
                    break
            assert time.monotonic() < deadline


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /\r\nHost\r\n\r\n", b"A" * 20_000 + b"\r\n"]
)
def test_bad_requests_put_no_traceback_into_the_log_and_few_lines(bridge, port, caplog, sent):
    for one in bridge_http.logger.filters:
        one.rate = LogRate(*accepting.TROUBLE)
    with running(bridge, None, ("127.0.0.1", port)):
        for _ in range(100):
            with socket.create_connection(("127.0.0.1", port), 5) as client:
                client.sendall(sent)
                assert ends(client)
    assert len(caplog.records) <= 3
    assert all(one.exc_info is None and len(one.getMessage()) < 500 for one in caplog.records)


def test_accepting_without_descriptors_is_said_now_and_then_and_faults_keep_their_traceback(caplog):
    loop = asyncio.new_event_loop()
    accepting.say_trouble_rarely(loop)
    for _ in range(1000):
        error = OSError(24, "Too many open files")
        loop.call_exception_handler({"message": "socket.accept() out of system resource", "exception": error})
    accepting.say_trouble_rarely(loop)
    loop.call_exception_handler({"message": "fault", "exception": KeyError("x")})
    loop.close()
    lines = [(one.getMessage(), one.exc_info is None) for one in caplog.records]
    assert lines == [
        *[("socket.accept() out of system resource: [Errno 24] Too many open files", True)] * 3,
        ("fault", False),
    ]


@pytest.mark.parametrize(
    ("soft", "peers"),
    [(1024, 640), (512, 128), (256, 64), (1 << 20, (1 << 20) - 384), (resource.RLIM_INFINITY, sys.maxsize)],
)
def test_peers_leave_descriptors_for_others(monkeypatch, soft, peers):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, soft))
    assert accepting.most_peers() == peers


def test_the_soft_limit_of_descriptors_becomes_the_hard_one():
    code = (
        "import resource; from pykafkaevt.bridge.accepting import raise_descriptor_limit as raise_it;"
        "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]; resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard));"
        "raise_it(); assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("POST", {"Content_Type": "application/json; charset=utf-8"}, 200),
        ("POST", {}, 415),
        ("POST", {"Content_Type": "text/plain"}, 415),
        ("POST", {"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ("POST", {**JSON, "Host": "localhost:1"}, 200),
        ("POST", {**JSON, "Host": "[::1]:1"}, 200),
        ("POST", {**JSON, "Host": "evil.example"}, 403),
        ("POST", {**JSON, "Host": "localhost:1", "Origin": "http://localhost:1"}, 200),
        ("POST", {**JSON, "Host": "localhost:1", "Origin": "http://localhost:2"}, 403),
        ("POST", {**JSON, "Origin": "http://evil.example"}, 403),
        ("POST", {**JSON, "Origin": "null"}, 403),
        ("POST", {**JSON, "Host": "evil.example", "Origin": "http://evil.example"}, 403),
        ("OPTIONS", {"Origin": "http://evil.example", "Access_Control_Request_Method": "POST"}, 403),
        ("GET", {}, 405),
    ],
)
def test_mi_is_for_no_page_of_another_site(web, bridge, method, headers, status):
    given = {"Authorization": BEARER["Authorization"], **headers}
    response, _ = web(method, "/mi", json.dumps(request("raise_event", ["E"])), **given)
    assert response.status == status
    assert bool(bridge.calls) == (status == 200)
    assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize("target", ["/", "/api/snapshot", "/metrics", "/healthz", "/readyz", "/none"])
def test_a_foreign_host_is_refused_everywhere(web, target):
    assert web("GET", target, Host="evil.example:80")[0].status == 403


def test_http_requests_are_bounded(web):
    assert web("POST", "/mi", b" " * (MAX_REQUEST + 1), **JSON)[0].status == 413


@pytest.mark.parametrize(
    ("authority", "expected"),
    [
        ("127.0.0.1", True),
        ("127.0.0.1:80", True),
        ("127.8.8.8", True),
        ("localhost:80", True),
        ("LOCALHOST", True),
        ("[::1]:80", True),
        ("", False),
        ("[::1", False),
        ("0.0.0.0", False),
        ("10.0.0.1:80", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("evil.example#localhost", False),
        ("localhost@evil.example", False),
    ],
)
def test_loopback_hosts(authority, expected):
    assert is_loopback(authority) is expected


@pytest.mark.parametrize(
    ("state", "target", "status", "reason"),
    [
        ({}, {}, 200, "ok\n"),
        ({"ready": False}, {}, 503, "the bridge is starting\n"),
        ({"ready": False, "draining": True}, {}, 503, "the bridge is draining\n"),
        ({}, {"up": False, "error": "no broker is up: DOWN"}, 503, "kafka:h:9092/t: no broker is up: DOWN\n"),
    ],
)
def test_readyz_says_why_not(web, bridge, state, target, status, reason):
    bridge.state.update(state)
    bridge.state["targets"][0].update(target)
    response, body = web("GET", "/readyz")
    assert (response.status, body) == (status, reason)
    assert web("GET", "/healthz")[0].status == 200


def test_healthz_names_the_inputs_that_do_not_work(web, bridge):
    bridge.broken = ["udp://127.0.0.1:5050: a receiving thread has ended", "tcp://127.0.0.1:5051: does not move"]
    response, body = web("GET", "/healthz")
    assert (response.status, body) == (503, "".join(f"{line}\n" for line in bridge.broken))


def test_a_bridge_that_hangs_is_alive_but_not_ready(web, bridge, monkeypatch):
    monkeypatch.setattr(mi, "PATIENCE", 0.2)
    bridge.gate.clear()
    try:
        for target in ("/readyz", "/api/snapshot", "/metrics"):
            response, body = web("GET", target)
            assert (response.status, body) == (503, "the bridge does not answer\n")
        assert web("GET", "/healthz")[0].status == 200
    finally:
        bridge.gate.set()
    assert web("GET", "/readyz")[0].status == 200


def test_snapshot_as_json_even_with_text_that_is_no_unicode(web, bridge):
    bridge.state["events"]["\ud800"] = 1
    response, body = web("GET", "/api/snapshot")
    assert response.status == 200
    assert json.loads(body) == bridge.state


def metrics(web):
    """The samples by their name and the values of their labels, those in the order of the labels' names."""
    response, body = web("GET", "/metrics")
    assert response.status == 200
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
    }


def test_metrics_have_every_figure(web):
    target = ("kafka:h:9092/t", "t")
    assert metrics(web) == {
        ("pykafkaevt_info", "1.2.3"): 1,
        ("pykafkaevt_start_time_seconds",): 1_700_000_000.5,
        ("pykafkaevt_ready",): 1,
        **{
            (f"pykafkaevt_input_{name}_total", "udp://127.0.0.1:5050"): SNAPSHOT["inputs"][0][name]
            for name in (
                *("received", "bytes", "queued", "invalid", "unrouted", "kernel_drops"),
                *("refused", "failed_handshakes"),
            )
        },
        ("pykafkaevt_input_connections", "udp://127.0.0.1:5050"): 0,
        ("pykafkaevt_invalid_total", "syntax"): 8,
        ("pykafkaevt_events_total", 'E_"TEST"\n'): 100,
        ("pykafkaevt_subscribers", "E_A"): 1,
        ("pykafkaevt_target_up", *target): 1,
        **{
            (f"pykafkaevt_target_{name}_total", *target): TARGET[name]
            for name in ("queued", "delivered", "failed", "dropped", "rejected", "bytes_delivered")
        },
        ("pykafkaevt_target_in_flight", *target): 7,
        ("pykafkaevt_target_errors_total", "_MSG_TIMED_OUT", *target): 3,
        ("pykafkaevt_target_latency_seconds", "0.5", *target): 0.001,
        ("pykafkaevt_target_latency_seconds", "0.9", *target): 0.002,
        ("pykafkaevt_target_latency_seconds", "0.99", *target): 0.003,
        ("pykafkaevt_target_latency_seconds", "1", *target): 0.005,
    }


def test_targets_that_differ_in_properties_alone_are_one_metric(web, bridge):
    bridge.state["targets"].append({**TARGET, "up": False, "delivered": 10, "latency_max_us": 1})
    found = metrics(web)
    target = ("kafka:h:9092/t", "t")
    assert found[("pykafkaevt_target_up", *target)] == 0
    assert found[("pykafkaevt_target_delivered_total", *target)] == 100
    assert found[("pykafkaevt_target_errors_total", "_MSG_TIMED_OUT", *target)] == 6
    assert found[("pykafkaevt_target_latency_seconds", "1", *target)] == 0.005


# The page


@pytest.mark.parametrize(
    ("target", "kind"), [("/", "text/html"), ("/page.js", "text/javascript"), ("/page.css", "text/css")]
)
def test_the_page_comes_from_the_package_and_loads_nothing_from_elsewhere(web, target, kind):
    response, body = web("GET", target)
    assert response.status == 200
    assert response.headers["Content-Type"] == f"{kind}; charset=utf-8"
    assert response.headers["Content-Security-Policy"].startswith("default-src 'self';")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "://" not in body


def test_errors_have_the_headers_too(web):
    assert "Content-Security-Policy" in web("GET", "/none")[0].headers


def test_the_page_has_the_places_that_its_script_and_tests_look_for():
    html = files("pykafkaevt.bridge").joinpath("page/index.html").read_text()
    for name in ("received-rate", "delivered-rate", "in-flight", "kernel-drops", "outage"):
        assert f'id="{name}"' in html
    for name in ("targets", "inputs", "reasons", "events", "subscribers", "last-events"):
        assert f'<table id="{name}">' in html


def test_the_script_puts_text_into_the_page_as_text_only():
    script = files("pykafkaevt.bridge").joinpath("page/page.js").read_text()
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "DOMParser"):
        assert way not in script


@pytest.mark.skipif(shutil.which("node") is None, reason="platform: no node")
def test_the_script_parses():
    script = Path(str(files("pykafkaevt.bridge").joinpath("page/page.js")))
    subprocess.run(["node", "--check", script], check=True)


# ctl


def ctl(*arguments, **environment):
    return CliRunner(env={"PYKAFKAEVT_CONTROL": None, **environment}).invoke(commands, ["ctl", *map(str, arguments)])


@pytest.fixture(params=["control", "environment", "http"])
def asked(request, bridge, path, port, token):
    """ctl(...) by each of its ways to the bridge."""
    ways = {
        "control": (["--control", path], {}),
        "environment": ([], {"PYKAFKAEVT_CONTROL": str(path)}),
        "http": (["--http", f"http://127.0.0.1:{port}/", "--http-token", token], {"http_proxy": "http://127.0.0.1:1"}),
    }
    before, environment = ways[request.param]
    with running(bridge, path, ("127.0.0.1", port), token):
        yield lambda *arguments: ctl(*before, *arguments, **environment)


def test_ctl_prints_the_result(asked):
    result = asked("events_list")
    assert (result.exit_code, result.stdout) == (0, '{"Events": [{"name": "E_A", "id": 1}]}\n')


@pytest.mark.parametrize(
    ("params", "call"),
    [
        (
            ["event=E", "socket=kafka:h/t?key=callid", "expire=600"],
            ("event_subscribe", "E", "kafka:h/t?key=callid", 600),
        ),
        (['{"event": "E", "socket": "kafka:h/t"}'], ("event_subscribe", "E", "kafka:h/t", None)),
        (['["E", "kafka:h/t", 1.5]'], ("event_subscribe", "E", "kafka:h/t", 1.5)),
    ],
)
def test_ctl_parameters(asked, bridge, params, call):
    result = asked("event_subscribe", *params)
    assert (result.exit_code, result.stdout) == (0, '"OK"\n')
    assert bridge.calls == [call]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["subscribers_list", "event=E_NONE"], "Error: Event not registered (404)"),
        (["shutdown"], "Error: Method not found (-32601)"),
        (["raise_event"], "Error: Invalid params (-32602): raise_event needs event"),
        (["reload"], "Error: bridge.toml: to: missing topic (500)"),
        (["raise_event", "event\x1b[2J=E"], "\\x1b[2J"),
    ],
)
def test_ctl_exits_with_1_and_the_errors_text(asked, arguments, words):
    result = asked(*arguments)
    assert result.exit_code == 1
    assert words in result.stderr
    assert "\x1b" not in result.output


@pytest.mark.parametrize("params", [["text"], ["=x"], ["event=E", "event=E"], ["{"], ["{}", "event=E"]])
def test_ctl_with_bad_parameters_is_wrong_usage(params):
    assert ctl("raise_event", *params).exit_code == 2


def test_ctl_without_a_bridge(path, port):
    for way in (["--control", path], ["--http", f"http://127.0.0.1:{port}"]):
        result = ctl(*way, "which")
        assert result.exit_code == 1
        assert result.stderr.startswith(f"Error: {way[1]}: ")
    assert ctl("--http", "ftp://h", "which").exit_code == 2


def test_ctl_with_a_token_that_cannot_be_used_or_is_another(bridge, port, token, tmp_path):
    address = ["--http", f"http://127.0.0.1:{port}"]
    result = ctl(*address, "--http-token", tmp_path / "none", "which")
    assert (result.exit_code, result.stderr) == (1, f"Error: http_token: {tmp_path}/none: No such file or directory\n")
    other = written(tmp_path / "other", "another-horse-battery", 0o600)
    with running(bridge, None, ("127.0.0.1", port), token):
        result = ctl(*address, "--http-token", other, "which")
    assert result.exit_code == 1
    assert "401 this is not the token" in result.stderr
    assert "another-horse" not in result.output


@pytest.mark.parametrize("answer", [b"", b"hello\n", b"[]\n", b'{"error": 1}\n'])
def test_ctl_with_something_else_at_the_socket(path, answer):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve():
            client, _ = listener.accept()
            with client:
                client.recv(1000)
                client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        result = ctl("--control", path, "which")
        thread.join()
    assert result.exit_code == 1
    assert "is this a bridge?" in result.stderr


def test_ctl_help_lists_the_methods():
    result = ctl("--help")
    assert result.exit_code == 0
    assert ctl_command.CONTROL in result.stdout
    for name, parameters in METHODS.items():
        assert f"\n    {name} " in result.stdout
        assert all(f"{parameter}=" in result.stdout for parameter in parameters)
