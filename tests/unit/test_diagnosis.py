"""What a client says about its connections, and what to do: by librdkafka's texts, and with the embedded broker."""

import asyncio
import logging
import socket
import time

import pytest

from pykafkaevt import AsyncProducer, Connector, DeliveryError, EmbeddedBroker, Producer, parse_socket
from pykafkaevt.diagnosis import ALL_BROKERS_DOWN, Diagnosis, advice, principal_of

PRODUCE = 0  # Kafka's API key
TOPIC_AUTHORIZATION_FAILED, AUTHENTICATION, SSL, TRANSPORT, MSG_TIMED_OUT, PURGE_QUEUE = (
    29,
    -169,
    -181,
    -195,
    -192,
    -152,
)
PATIENCE = 30  # seconds
FAILED = "ssl://h:9093/bootstrap: SSL handshake failed: error:0A000086:SSL routines::certificate verify failed"
ALLOW = "allow User:ANONYMOUS to WRITE to the topic "


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("h:9092/1: Disconnected: gone (after 1999ms in state UP)", "set g.security.protocol=sasl_plaintext"),
        ("h:9092/1: Disconnected: gone (after 2000ms in state UP)", ""),
        ("h:9092/1: Disconnected (after 61999ms in state UP)", ""),
        ("sasl_ssl://h:9092/1: Disconnected (after 3ms in state UP)", ""),
        ("[::1]:9092/bootstrap: Disconnected (after 1ms in state APIVERSION_QUERY)", "=ssl or sasl_ssl"),
        ("ssl://h:9092/bootstrap: Disconnected (after 1ms in state APIVERSION_QUERY)", ""),
        ("ssl://h:9092/bootstrap: SSL handshake failed: error:0A00010B:SSL routines::wrong version number", "no TLS"),
        (
            "ssl://h:9092/1: Receive failed: error:0A00045C:SSL routines::tlsv13 alert certificate required",
            "client cert",
        ),
        ("ssl://h:9092/1: Receive failed: error:0A000418:SSL routines::tlsv1 alert unknown ca", "client certificate"),
        ("sasl_ssl://h:9092/1: SASL SCRAM authentication failed: ServerSignature mismatch", "g.sasl.password"),
        ("sasl_ssl://h:9092/1: SASL OAUTHBEARER authentication failed (principal=x): no", "does not accept the token"),
        ("h:9092/1: Connect to ipv4#192.0.2.1:9092 failed: Connection refused (after 0ms in state CONNECT)", ""),
        ("h:9092/1: 3 request(s) timed out: disconnect (average rtt 3ms)", ""),
    ],
)
def test_advice_is_for_what_librdkafka_says_with_the_protocol_in_use(text, what):
    found = advice(text)
    assert what in found if what else found == ""


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (9, "is not valid yet: compare its dates with this machine's clock"),
        (10, "has expired: the broker needs a new one"),
        (18, "is by no authority that is trusted: set g.ssl.ca.location to the file of the broker's CA"),
        (23, "was revoked"),
        (64, "is for another host: name the broker as its certificate does, in the socket and in the broker's "),
        (66, "is not valid (OpenSSL's X509_V_ERR 66)"),
    ],
)
def test_the_reason_of_a_certificate_is_said_with_the_failure_it_makes(code, why):
    own = Diagnosis(())
    thread, state = "[thrd:ssl://h:9093/bootstrap]: ", " (after 3ms in state SSL_HANDSHAKE)"
    verdict = f"Certificate (subject=/CN=h, issuer=/CN=ca) verification callback failed: X509_V_ERR {code}"
    guess = (
        ": broker certificate could not be verified, verify that ssl.ca.location is correctly configured or root CA "
        "certificates are installed (install ca-certificates package)"
    )
    assert own.line("SSLCERTVRFY", f"{thread}ssl://h:9093/bootstrap: {verdict}", 0) is None
    line = own.line("FAIL", f"{thread}{FAILED}{guess}{state}", 0)
    assert line.startswith(f"FAIL: {thread}{FAILED}{state}; the certificate /CN=h {why}")
    assert own.error(SSL, FAILED, 0).startswith(f"{FAILED}; the certificate /CN=h {why}")
    # of another broker, or another failure of this one, that is not known
    assert own.error(SSL, FAILED.replace("//h:", "//other:"), 0) == FAILED.replace("//h:", "//other:")
    alert = "ssl://h:9093/bootstrap: Receive failed: error:0A000412:SSL routines::ssl/tls alert bad certificate"
    assert own.error(TRANSPORT, alert, 0).startswith(f"{alert}; the broker wants a client certificate")


def test_all_brokers_down_has_the_newest_reason():
    own = Diagnosis(())
    down = "1/1 brokers are down"
    assert own.error(ALL_BROKERS_DOWN, down, 0) == down
    assert own.newest(0) is None
    own.line("FAIL", "[thrd:h:1/bootstrap]: h:1/bootstrap: Disconnected (after 0ms in state APIVERSION_QUERY)", 0)
    assert own.newest(0).advised
    found = own.error(ALL_BROKERS_DOWN, down, 0)
    assert found.startswith(f"{down}: h:1/bootstrap: Disconnected (after 0ms in state APIVERSION_QUERY); a listener")
    refused = "h:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused"
    assert own.error(TRANSPORT, refused, 0) == refused
    assert own.newest(0) == (refused, False, 0)
    assert own.error(ALL_BROKERS_DOWN, down, 0) == f"{down}: {refused}"


def test_what_was_before_the_newest_delivery_is_over():
    own = Diagnosis(())
    own.error(TRANSPORT, "h:1/1: refused", 5)
    assert own.newest(5).text == "h:1/1: refused"
    assert own.newest(6) is None
    assert own.explain("t", 6).reason(MSG_TIMED_OUT, "timed out") == "timed out"
    assert own.explain("t", 5).reason(MSG_TIMED_OUT, "timed out") == "timed out: h:1/1: refused"
    # a broker that took records is restarted: nothing is to be changed
    assert "g.security" not in own.line("FAIL", "h:1/1: Disconnected (after 7ms in state UP)", 6)
    assert "g.security" in own.line("FAIL", "h:1/1: Disconnected (after 7ms in state UP)", 0)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no gossip for s3cret&x", "no gossip for ***"),
        ("bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln rejected", "bearer *** rejected"),
        ('token from "https://me:pw@login.example/token": no', 'token from "https://***@login.example/token": no'),
        ("sasl_ssl://h:9093/bootstrap: fine", "sasl_ssl://h:9093/bootstrap: fine"),
    ],
)
def test_secrets_are_blanked_in_what_peers_write(text, shown):
    own = Diagnosis(())
    own.hidden = ["s3cret&x"]
    assert own.line("OIDC", text, 0) == f"OIDC: {shown}"
    assert own.error(AUTHENTICATION, text, 0) == shown
    assert own.newest(0).text == shown


@pytest.mark.parametrize(
    ("properties", "principal"),
    [
        ("", "User:ANONYMOUS"),
        ("?g.sasl.username=u", "User:ANONYMOUS"),
        ("?g.security.protocol=SASL_SSL&g.sasl.mechanism=PLAIN&g.sasl.username=u", "User:u"),
        ("?g.security.protocol=sasl_ssl&g.sasl.mechanisms=PLAIN&g.sasl.username=@env:U", "User:@env:U"),
        ("?g.security.protocol=sasl_ssl&g.sasl.mechanism=oauthbearer", "the token's subject"),
        ("?g.security.protocol=ssl", "User:ANONYMOUS"),
        ("?g.security.protocol=ssl&g.ssl.certificate.location=c", "the client certificate's subject"),
        ("?g.security.protocol=ssl&g.ssl.keystore.location=k", "the client certificate's subject"),
    ],
)
def test_the_name_that_rights_are_given_to(properties, principal):
    assert principal_of(parse_socket(f"kafka:h/t{properties}").global_properties) == principal


# With a broker


@pytest.fixture
def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]


def wait_for(ready):
    deadline = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_records_that_are_given_up_tell_why_no_broker_was_reached(closed_port):
    reports = []
    with Producer(f"kafka:127.0.0.1:{closed_port}/t", on_delivery=reports.extend) as producer:
        assert producer.refusal is None
        producer.publish(b"v", report=True)
        wait_for(lambda: producer.last_error)
        assert "Connection refused" in producer.last_error
        assert producer.refusal is None
        producer.close(0)
    (report,) = reports
    assert report.error.code == PURGE_QUEUE
    assert report.error.reason.startswith(f"Local: Purged in queue: 127.0.0.1:{closed_port}/bootstrap: Connect to ")


def test_a_topic_that_refuses_is_told_once_until_it_takes_records(caplog):
    caplog.set_level(logging.ERROR, "pykafkaevt")
    reports = []
    with (
        EmbeddedBroker(topics={"t": 1}) as broker,
        Producer(
            f"kafka:{broker.bootstrap_servers}/t?g.enable.idempotence=false", name="p", on_delivery=reports.extend
        ) as producer,
    ):
        broker.push_errors(PRODUCE, [TOPIC_AUTHORIZATION_FAILED])
        producer.publish_many([b"v"] * 3, report=True)
        assert producer.flush(PATIENCE) == 0
        wait_for(lambda: len(reports) == 3)
        reason = f"Broker: Topic authorization failed; {ALLOW}t"
        assert {report.error.reason for report in reports} == {reason}
        assert producer.refusal == producer.last_error == reason
        wait_for(lambda: caplog.messages)
        assert caplog.messages == [f"p: topic t: {reason} (code 29)"]

        rejected = set()

        def taken():
            # librdkafka rejects records of the topic until it has asked for it again
            try:
                producer.publish(b"v")
            except DeliveryError as error:
                rejected.add(error.reason)
            producer.flush(PATIENCE)
            return producer.stats().delivered

        wait_for(taken)
        assert rejected <= {f"the record was not queued: {reason}"}
        wait_for(lambda: producer.refusal is None)
        assert producer.last_error is None
        assert len(caplog.messages) == 1


def test_every_way_to_publish_has_the_reason():
    reports = []

    async def awaited(text):
        async with AsyncProducer(text) as producer:
            batch = await producer.publish_many([b"a", b"b"])
            return [report.error.reason for report in batch]

    with EmbeddedBroker(topics={"t": 1}) as broker:
        text = f"kafka:{broker.bootstrap_servers}/t?g.enable.idempotence=false"
        broker.push_errors(PRODUCE, [TOPIC_AUTHORIZATION_FAILED] * 2)
        reason = f"Broker: Topic authorization failed; {ALLOW}t"
        assert set(asyncio.run(awaited(text))) <= {reason}
        broker.push_errors(PRODUCE, [TOPIC_AUTHORIZATION_FAILED])
        with Connector([f"[k]{text}"]) as connector:
            connector.kafka_publish("k", b"v", report_route=reports.append)
            wait_for(lambda: reports)
    assert reports[0].error.reason == reason
