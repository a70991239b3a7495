"""What sockets that come by the control socket or HTTP may have, and how many subscriptions they make."""

import re
import threading
from pathlib import Path

import orjson
import pytest

from pykafkaevt.bridge import commands as bridge_commands
from pykafkaevt.bridge import routing as bridge_routing
from pykafkaevt.bridge.commands import Commands
from pykafkaevt.bridge.config import BridgeConfig, Input
from pykafkaevt.bridge.mi import RequestError, call
from pykafkaevt.bridge.remote_sockets import ALLOWED, LIMITS, VALUES, check_remote
from pykafkaevt.bridge.routing import Routing
from pykafkaevt.cli.check import check_properties
from pykafkaevt.sockets import parse_socket

GOOD = {
    "compression.level": "3",
    "acks": "all",
    "partitioner": "murmur2",
    "queuing.strategy": "fifo",
    "compression.type": "none",
    "compression.codec": "none",
    "broker.address.family": "v4",
    "client.id": "c",
    "security.protocol": "plaintext",
    "socket.keepalive.enable": "true",
    "enable.idempotence": "false",
}
CLIENTS_TEXT = "there are 16 Kafka clients, and there may be no more"


@pytest.fixture
def commands():
    """The commands of a bridge without inputs that receive."""
    routing = Routing(BridgeConfig(inputs=(Input("stdin:", "stdin"),), to=parse_socket("kafka:embedded/remote")))
    yield Commands(routing, None, None, None)
    routing.close(1)


def error_of(commands, **given):
    """The error of event_subscribe as a caller gets it."""
    with pytest.raises(RequestError) as caught:
        call(commands, "event_subscribe", {"event": "E", "socket": "kafka:127.0.0.1:1/t", **given})
    return caught.value.error


@pytest.mark.parametrize("prefix", ["g.", "t."])
@pytest.mark.parametrize("name", ALLOWED)
def test_harmless_properties_are_allowed(prefix, name):
    check_remote(parse_socket(f"kafka:h/t?{prefix}{name}={GOOD.get(name, '1000')}&key=callid"))


@pytest.mark.parametrize("name", ALLOWED)
def test_each_allowed_property_is_one_of_librdkafka(name):
    socket = parse_socket(f"kafka:127.0.0.1:1/t?g.{name}={GOOD.get(name, '1000')}")
    check_properties(socket)


@pytest.mark.parametrize(
    ("properties", "name", "reason"),
    [
        ("g.client.id=@file:/etc/hostname", "g.client.id", "reads the bridge's environment or files"),
        ("t.acks=@env:HOME", "t.acks", "reads the bridge's environment or files"),
        ("g.plugin.library.paths=/tmp/x.so", "g.plugin.library.paths", "loads code"),
        ("g.ssl.engine.location=/tmp/x.so", "g.ssl.engine.location", "loads code"),
        ("g.ssl.engine.id=x", "g.ssl.engine.id", "loads code"),
        ("g.ssl.providers=x", "g.ssl.providers", "loads code"),
        ("g.ut_handle_ProduceResponse=x", "g.ut_handle_ProduceResponse", "calls code"),
        ("g.dr_msg_cb=x", "g.dr_msg_cb", "calls code"),
        ("g.sasl.kerberos.kinit.cmd=id", "g.sasl.kerberos.kinit.cmd", "runs a program"),
        ("g.sasl.kerberos.keytab=/x", "g.sasl.kerberos.keytab", "a file that is read"),
        ("g.sasl.oauthbearer.token.endpoint.url=http://h", "g.sasl.oauthbearer.token.endpoint.url", "reaches URLs"),
        ("g.sasl.oauthbearer.assertion.file=/x", "g.sasl.oauthbearer.assertion.file", "reads files"),
        ("g.https.ca.location=/x", "g.https.ca.location", "reaching URLs"),
        ("g.sasl.password=hunter2", "g.sasl.password", "secrets, which belong into the configuration"),
        ("g.sasl.mechanisms=GSSAPI", "g.sasl.mechanisms", "secrets"),
        ("g.ssl.ca.location=/etc/shadow", "g.ssl.ca.location", "reads a file"),
        ("g.ssl.keystore.location=/x", "g.ssl.keystore.location", "reads a file"),
        ("g.ssl.crl.location=/x", "g.ssl.crl.location", "reads a file"),
        ("t.offset.store.path=/x", "t.offset.store.path", "reads or writes a file"),
        ("g.ssl.key.pem=hunter2", "g.ssl.key.pem", "secrets"),
        ("g.enable.ssl.certificate.verification=false", "g.enable.ssl.certificate.verification", "certificates"),
        ("g.debug=all", "g.debug", "fills the log"),
        ("g.log_level=7", "g.log_level", "changes the log"),
        ("g.transactional.id=x", "g.transactional.id", "is not among the properties"),
        ("g.LINGER.MS=5", "g.LINGER.MS", "is not among the properties"),
        ("g.linger.ms=5&t.plugin.library.paths=/x", "t.plugin.library.paths", "loads code"),
        ("g.security.protocol=sasl_ssl", "g.security.protocol", "must be plaintext or ssl"),
        ("g.statistics.interval.ms=1", "g.statistics.interval.ms", "must be from 100 to 86400000"),
        ("g.queue.buffering.max.kbytes=2147483647", "g.queue.buffering.max.kbytes", "must be from 1 to 1048576"),
        ("g.queue.buffering.max.messages=0", "g.queue.buffering.max.messages", "must be from 1 to 1000000"),
        ("g.queue.buffering.max.messages=0x7fff", "g.queue.buffering.max.messages", "must be from 1"),
        ("g.queue.buffering.max.messages=-1", "g.queue.buffering.max.messages", "must be from 1"),
        (f"g.queue.buffering.max.messages={'1' * 3000}", "g.queue.buffering.max.messages", "must be from 1"),
        ("g.reconnect.backoff.ms=0", "g.reconnect.backoff.ms", "must be from 10"),
    ],
)
@pytest.mark.parametrize("expire", [None, 60, 0])
def test_others_are_invalid_params_that_name_the_property_and_why(commands, properties, name, reason, expire):
    error = error_of(commands, socket=f"kafka:127.0.0.1:1/t?{properties}", expire=expire)
    assert (error["code"], error["message"]) == (-32602, "Invalid params")
    assert error["data"].startswith(f"{name}: ")
    assert reason in error["data"]
    assert "hunter2" not in str(error)
    assert commands.events_list() == {"Events": []}
    assert commands.routing.interface.subscriptions() == []


def test_the_table_of_the_document_has_the_allowed_properties():
    text = (Path(__file__).parents[2] / "docs" / "bridge.md").read_text()
    table = text.split("| property of a subscriber's socket | |", maxsplit=1)[1].split("\n\n", maxsplit=1)[0]
    named = [name for row in table.splitlines()[2:] for name in re.findall(r"`([\w.]+)`", row.split("|")[1])]
    assert sorted(named) == sorted(ALLOWED)


def test_limits_and_values_are_of_allowed_properties():
    assert {*LIMITS, *VALUES} <= set(ALLOWED)


@pytest.mark.parametrize(
    ("given", "code", "reason"),
    [
        ({"socket": f"kafka:h/t?g.client.id={'x' * 4096}"}, -32602, "socket has more than 4096 characters"),
        ({"event": "E" * 256}, -32602, "event has more than 255 bytes"),
        ({"event": "ä" * 128}, -32602, "event has more than 255 bytes"),
    ],
)
def test_texts_are_bounded(commands, given, code, reason):
    error = error_of(commands, **given)
    assert (error["code"], error["data"]) == (code, reason)


def test_subscriptions_are_bounded_and_those_there_can_be_refreshed_and_ended(commands, monkeypatch):
    monkeypatch.setattr(bridge_commands, "SUBSCRIPTIONS", 3)
    for n in range(3):
        assert commands.event_subscribe(f"E{n}", "kafka:127.0.0.1:1/t") == "OK"
    error = error_of(commands)
    assert error == {"code": 500, "message": "there are 3 subscriptions, and there may be no more"}
    assert commands.event_subscribe("E1", "kafka:127.0.0.1:1/t", 60) == "OK"
    assert commands.event_subscribe("E1", "kafka:127.0.0.1:1/t", 0) == "OK"
    assert commands.event_subscribe("E", "kafka:127.0.0.1:1/t") == "OK"


def test_clients_are_bounded_and_so_are_threads(commands):
    before = len(list_threads())
    made = 0
    for n in range(300):
        made += subscribed(commands, CLIENTS_TEXT, "E", f"kafka:127.0.0.1:{n + 1}/t")
    assert made == bridge_routing.CLIENTS == 16
    # each has librdkafka's main thread and one for each broker, and ours
    assert len(list_threads()) - before <= 16 * 6
    # another topic on a client that is there
    assert commands.event_subscribe("E", "kafka:127.0.0.1:1/other") == "OK"


def test_clients_that_come_and_go_are_bounded_too(commands):
    before, most = len(list_threads()), 0
    for n in range(300):
        if subscribed(commands, CLIENTS_TEXT, "E", f"kafka:127.0.0.1:{n + 1}/t"):
            commands.event_subscribe("E", f"kafka:127.0.0.1:{n + 1}/t", 0)
        most = max(most, len(list_threads()) - before)
    assert most <= 16 * 6
    assert len(commands.routing.interface._pool._shared) == 0


def test_calls_at_the_same_time_do_not_pass_the_limit(commands, monkeypatch):
    monkeypatch.setattr(bridge_commands, "SUBSCRIPTIONS", 5)
    start = threading.Barrier(8)

    def subscribe(number):
        start.wait(10)
        for n in range(20):
            subscribed(commands, "there are 5 subscriptions", f"E{number}-{n}", "kafka:127.0.0.1:1/t")

    threads = [threading.Thread(target=subscribe, args=(number,)) for number in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(commands.routing.interface.subscriptions()) == 5
    orjson.dumps(commands.routing.interface.subscribers_list())


def subscribed(commands, word, event, socket, expire=None):
    """Whether it was subscribed; when not, the error has the word."""
    try:
        call(commands, "event_subscribe", {"event": event, "socket": socket, "expire": expire})
    except RequestError as error:
        return word not in error.error["message"] and pytest.fail(str(error))
    return True


def list_threads():
    """All threads of this process, librdkafka's too."""
    return list(Path("/proc/self/task").iterdir())
