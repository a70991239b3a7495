"""What cannot work makes `pykafkaevt bridge --check`, and a start, exit with 2, the option and the reason."""

import pytest
from click.testing import CliRunner

from pykafkaevt.bridge.config import BridgeConfig, Route, parse_input
from pykafkaevt.bridge.daemon import Bridge
from pykafkaevt.bridge.targets import DEFAULTS, Targets, state, with_defaults
from pykafkaevt.cli.commands import commands
from pykafkaevt.clients import ClientPool
from pykafkaevt.errors import ConfigError, Error
from pykafkaevt.events import EventInterface
from pykafkaevt.options import ProducerOptions
from pykafkaevt.sockets import parse_socket

# properties, and what the reason names
IMPOSSIBLE = [
    ("g.delivery.report.only.error=true", "delivery.report.only.error"),
    ("g.transactional.id=x", "transactional.id"),
    ("g.log.queue=true", "log.queue"),
    ("g.enabled_events=1", "enabled_events"),
    ("g.security.protocol=SASL_SSL&g.sasl.mechanism=OAUTHBEARER", "OAUTHBEARER"),
    ("g.security.protocol=SASL_SSL&g.sasl.mechanisms=OAUTHBEARER", "OAUTHBEARER"),
    ("g.enable.idempotence=true&g.acks=1", "enable.idempotence"),
    ("g.enable.idempotence=true&t.acks=1", "enable.idempotence"),
    ("g.no.such.property=1", "no.such.property"),
]
# where a socket may stand on the command line, and what the error calls the place
PLACES = [("--to", "", "to"), ("--route", "E_*=", "route E_*"), ("--dead-letter", "", "dead_letter")]


@pytest.fixture
def run(monkeypatch):
    """run(*arguments): exit code and stderr of the command; 1 when the daemon would start."""

    def opened(self, stack):
        raise Error("all clients are made")

    monkeypatch.setattr(Bridge, "open", opened)
    # the handler would outlive the test
    monkeypatch.setattr("pykafkaevt.bridge.logs.configure", lambda *form: None)

    def call(*arguments):
        result = CliRunner().invoke(commands, ["bridge", "udp://127.0.0.1:5050", *arguments])
        return result.exit_code, result.stderr

    return call


@pytest.mark.parametrize("more", [("--check",), ()], ids=["check", "start"])
@pytest.mark.parametrize(("option", "before", "place"), PLACES)
@pytest.mark.parametrize(("properties", "reason"), IMPOSSIBLE)
def test_properties_that_cannot_work_exit_with_2_and_the_reason(run, properties, reason, option, before, place, more):
    others = [] if option == "--to" else ["--to", "kafka:127.0.0.1:1/t"]
    code, text = run(*others, option, f"{before}kafka:127.0.0.1:1/x?{properties}", *more)
    assert code == 2
    # a target that is good may have said that its broker is away
    assert text.splitlines()[-1].startswith(f"Error: {place}: ")
    assert reason in text


@pytest.mark.parametrize(
    "properties",
    [
        "g.enable.idempotence=false&t.acks=1",
        "t.acks=1",
        "g.acks=all",
        "g.delivery.report.only.error=false",
        "g.queue.buffering.max.messages=10",
        "g.statistics.interval.ms=0",
        "key=callid",
    ],
)
def test_properties_that_work_pass(run, properties):
    assert run("--to", f"kafka:127.0.0.1:1/x?{properties}", "--check")[0] == 0


# Targets


@pytest.fixture
def targets():
    """targets(**sockets): the Targets of a configuration; their clients are closed after the test."""
    pool, interface = ClientPool(ProducerOptions()), EventInterface()

    def make(**sockets):
        return Targets(BridgeConfig(inputs=(parse_input("udp://127.0.0.1:5050"),), **sockets), pool, interface)

    yield make
    pool.close(0)
    interface.close(0)


@pytest.mark.parametrize(
    ("given", "properties"),
    [
        ("kafka:h/t", DEFAULTS),
        ("kafka:h/t?g.linger.ms=5&t.acks=1&key=callid", {**DEFAULTS, "linger.ms": "5"}),
        ("kafka:h/t?g.statistics.interval.ms=0", {**DEFAULTS, "statistics.interval.ms": "0"}),
        ("kafka:h/t?g.queue.buffering.max.messages=7", {**DEFAULTS, "queue.buffering.max.messages": "7"}),
        ("kafka:h/t?g.sasl.password=a%26b%3Dc%25", {**DEFAULTS, "sasl.password": "a&b=c%"}),
    ],
)
def test_the_bridges_defaults_are_for_what_a_socket_does_not_say(given, properties):
    socket = parse_socket(given)
    made = with_defaults(socket)
    assert dict(made.global_properties) == properties
    assert dict(made.topic_properties) == dict(socket.topic_properties)
    assert (made.brokers, made.topic, made.key) == (socket.brokers, socket.topic, socket.key)


def test_dead_letters_share_the_client_of_the_target(targets):
    made = targets(to=parse_socket("kafka:embedded/t?key=callid"), dead_letter=parse_socket("kafka:embedded/dead"))
    (to, dead) = made.all
    assert made.dead_letter is dead
    assert to.producer is not dead.producer
    assert to.producer.client is dead.producer.client
    assert [one["topic"] for one in made.snapshot()] == ["t", "dead"]


def test_a_target_of_several_routes_is_one(targets):
    socket = parse_socket("kafka:embedded/t")
    made = targets(to=socket, routes=(Route("E_A", socket), Route("E_B", socket)))
    assert len(made.snapshot()) == 1


def test_targets_that_cannot_be_opened_leave_nothing_open(targets):
    with pytest.raises(ConfigError, match=r"^dead_letter: g\.nonsense: "):
        targets(to=parse_socket("kafka:embedded/t"), dead_letter=parse_socket("kafka:embedded/d?g.nonsense=1"))


@pytest.mark.parametrize(
    ("statistics", "error", "told"),
    [
        (None, "no connection yet", "no connection yet: why"),
        (b'{"brokers":{}}', "no connection yet", "no connection yet: why"),
        (
            b'{"brokers":{"a":{"state":"DOWN"},"b":{"state":"INIT"}}}',
            "no broker is up: DOWN, INIT",
            "no broker is up: why",
        ),
        (b'{"brokers":{"a":{"state":"DOWN"},"b":{"state":"UP"}}}', None, None),
        (
            b'{"brokers":{"a":{"state":"UP"}},"eos":{"idemp_state":"WaitPID"}}',
            "no producer ID yet: WaitPID",
            "no producer ID yet: why",
        ),
        (b'{"brokers":{"a":{"state":"UP"}},"eos":{"idemp_state":"Assigned"}}', None, None),
    ],
)
def test_the_state_of_a_target_by_its_statistics_and_its_last_error(targets, statistics, error, told):
    class Client:
        def statistics_text(self):
            return statistics

    class Producer:
        client = Client()
        last_error = refusal = None

        def _counts(self):
            return {"queued": 3, "errors": {-192: 2}}

    (target,) = targets(to=parse_socket("kafka:embedded/t")).all
    producer = Producer()
    found = state(target._replace(producer=producer))
    assert (found["up"], found["error"]) == (error is None, error)
    assert (found["queued"], found["errors"]) == (3, {"_MSG_TIMED_OUT": 2})
    producer.last_error = "why"
    assert state(target._replace(producer=producer))["error"] == told
    producer.refusal = "it may not be written to"
    assert state(target._replace(producer=producer))["error"] == (told or "it may not be written to")
