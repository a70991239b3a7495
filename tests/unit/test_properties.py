"""The properties of a socket: idempotence where nothing excludes it, and what cannot be used with the reason."""

import pytest

from pykafkaevt import ConfigError, parse_socket
from pykafkaevt.properties import check_properties, properties_of


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
