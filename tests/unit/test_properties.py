"""The properties of a socket: idempotence where nothing excludes it, and what cannot be used with the reason."""

import pytest
from click.testing import CliRunner

from pykafkaevt import ConfigError, Producer, parse_socket
from pykafkaevt.cli.commands import commands
from pykafkaevt.clients import ClientPool
from pykafkaevt.options import ProducerOptions
from pykafkaevt.properties import check_properties, exposed_credentials, properties_of


def socket_of(properties):
    return parse_socket(f"kafka:h/t?{properties}" if properties else "kafka:h/t")


@pytest.mark.parametrize(
    ("properties", "idempotent"),
    [
        ("", True),
        ("g.linger.ms=5&t.message.timeout.ms=1000", True),
        ("g.acks=all&t.acks=-1", True),
        ("t.request.required.acks=ALL", True),
        ("g.acks=1", False),
        ("t.acks=0", False),
        ("t.request.required.acks=1", False),
        ("g.enable.idempotence=false", False),
        ("g.retries=5", False),
        ("g.max.in.flight=100", False),
        ("g.queue.buffering.backpressure.threshold=2", False),
        ("g.queuing.strategy=lifo", False),
        ("t.queuing.strategy=lifo", False),
    ],
)
def test_idempotence_is_on_unless_a_property_decides_it(properties, idempotent):
    socket = socket_of(properties)
    added = {"enable.idempotence": "true"} if idempotent else {}
    assert dict(properties_of(socket)) == {**socket.global_properties, **added}


@pytest.mark.parametrize(
    ("properties", "name", "reason"),
    [
        ("g.delivery.report.only.error=true", "g.delivery.report.only.error", "in flight"),
        ("g.delivery.report.only.error=T", "g.delivery.report.only.error", "in flight"),
        ("g.delivery.report.only.error=1", "g.delivery.report.only.error", "in flight"),
        ("g.transactional.id=bridge-1", "g.transactional.id", "no transactions"),
        ("g.log.queue=true", "g.log.queue", "Python's logging"),
        ("g.log.queue=false", "g.log.queue", "Python's logging"),
        ("g.enabled_events=0", "g.enabled_events", "needs the events"),
        ("g.enable.gapless.guarantee=TRUE", "g.enable.gapless.guarantee", "gap"),
        ("g.enable_sasl_queue=true", "g.enable_sasl_queue", "token"),
        ("g.ut_handle_ProduceResponse=x", "g.ut_handle_ProduceResponse", "function"),
        ("g.sasl.mechanism=OAUTHBEARER", "g.sasl.mechanism", "g.sasl.oauthbearer.method=oidc"),
        (
            "g.sasl.mechanisms=oauthbearer&g.sasl.oauthbearer.method=default",
            "g.sasl.mechanisms",
            "g.sasl.oauthbearer.method=oidc",
        ),
        ("g.sasl.mechanism=OAUTHBEARER&g.enable.sasl.oauthbearer.unsecure.jwt=true", "g.sasl.mechanism", "oidc"),
        ("g.enable.idempotence=true&g.acks=1", "g.acks", "acks=all"),
        ("g.enable.idempotence=True&t.acks=0", "t.acks", "acks=all"),
        ("g.request.required.acks=1&g.enable.idempotence=1", "g.request.required.acks", "acks=all"),
        ("g.enable.idempotence=t&t.request.required.acks=2", "t.request.required.acks", "acks=all"),
        ("g.enable.idempotence=true&t.acks=all&g.acks=1", "g.acks", "acks=all"),
        ("g.enable.idempotence=true&t.queuing.strategy=LIFO", "t.queuing.strategy", "fifo"),
    ],
)
def test_what_cannot_work_is_named_with_its_reason(properties, name, reason):
    with pytest.raises(ConfigError) as raised:
        check_properties(socket_of(properties))
    assert raised.value.property == name
    assert reason in raised.value.reason


@pytest.mark.parametrize(
    "properties",
    [
        "",
        "g.delivery.report.only.error=false",
        "g.enable.gapless.guarantee=false&g.enable_sasl_queue=F",
        "g.queue.buffering.backpressure.threshold=10&g.statistics.interval.ms=1000&g.message.copy.max.bytes=0",
        "g.sasl.mechanism=OAUTHBEARER&g.sasl.oauthbearer.method=OIDC",
        "g.sasl.mechanism=PLAIN&g.sasl.username=u&g.sasl.password=p",
        "g.enable.idempotence=true&g.acks=ALL&t.request.required.acks=-1",
        "g.enable.idempotence=false&g.acks=1&t.queuing.strategy=lifo",
        "g.test.mock.num.brokers=1&g.internal.termination.signal=29",
        "g.no.such.property=1",
    ],
)
def test_all_else_is_left_to_librdkafka(properties):
    check_properties(socket_of(properties))


def test_the_value_of_a_secret_is_in_no_reason():
    secrets = "g.sasl.password=hidden&g.sasl.oauthbearer.client.secret=hidden&g.ssl.key.password=hidden"
    for wrong in ("g.sasl.mechanism=OAUTHBEARER", "g.transactional.id=hidden", "g.enable.idempotence=true&g.acks=1"):
        with pytest.raises(ConfigError) as raised:
            check_properties(socket_of(f"{secrets}&{wrong}"))
        assert "hidden" not in str(raised.value)


# Credentials without encryption

LOGIN = "g.sasl.mechanism=PLAIN&g.sasl.username=bridge&g.sasl.password=hunter2"
PLAINTEXT = f"g.security.protocol=SASL_PLAINTEXT&{LOGIN}"


@pytest.mark.parametrize(
    ("text", "exposed"),
    [
        (f"kafka:h/t?{PLAINTEXT}", True),
        ("kafka:h/t?g.security.protocol=sasl_plaintext", True),
        ("kafka:h/t?g.security.protocol=@env:PROTOCOL", True),
        (f"kafka:h/t?{LOGIN}", True),
        (f"kafka:h/t?g.security.protocol=plaintext&{LOGIN}", True),
        (f"kafka:127.0.0.1,192.0.2.1/t?{PLAINTEXT}", True),
        (f"kafka:[2001:db8::1]:9093/t?{PLAINTEXT}", True),
        (f"kafka:localhost.example/t?{PLAINTEXT}", True),
        (f"kafka:h/t?g.security.protocol=SASL_SSL&{LOGIN}", False),
        (f"kafka:h/t?g.security.protocol=ssl&{LOGIN}", False),
        ("kafka:h/t", False),
        ("kafka:h/t?g.security.protocol=plaintext", False),
        (f"kafka:127.0.0.1:9092,localhost,[::1],127.9.9.9:1/t?{PLAINTEXT}", False),
        (f"kafka:embedded/t?{PLAINTEXT}", False),
    ],
)
def test_credentials_that_others_can_read_are_found(monkeypatch, text, exposed):
    monkeypatch.setenv("PROTOCOL", "SASL_PLAINTEXT")
    found = exposed_credentials(parse_socket(text))
    assert (found is not None) == exposed
    if found is not None:
        assert found.endswith(": there are credentials and no encryption: set g.security.protocol=sasl_ssl")
        assert "hunter2" not in found


# a port of the documentation's network: nothing is sent to anybody
REMOTE = f"kafka:192.0.2.1:9092/t?{PLAINTEXT}"
WARNING = "192.0.2.1:9092: there are credentials and no encryption: set g.security.protocol=sasl_ssl"


def test_the_library_says_it_once_for_each_client(caplog):
    Producer(REMOTE).close(0)
    pool = ClientPool(ProducerOptions())
    for topic in ("a", "b", "c"):
        pool.borrow(parse_socket(REMOTE).with_properties(topic=topic))
    pool.close(0)
    said = [one for one in caplog.records if one.getMessage() == WARNING]
    assert [(one.name, one.levelname) for one in said] == [("pykafkaevt", "WARNING")] * 2
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize(
    "arguments",
    [["check", REMOTE], ["bridge", "udp://127.0.0.1:5050", "--to", REMOTE, "--check"]],
    ids=["socket", "bridge"],
)
def test_a_check_says_it(arguments):
    result = CliRunner().invoke(commands, arguments)
    assert result.exit_code == 0
    assert ["WARNING:", WARNING] in [
        line.replace("WARNING  ", "WARNING: ").split(None, 1) for line in result.output.splitlines()
    ]
    assert "hunter2" not in result.output
