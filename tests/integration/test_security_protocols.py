"""Each security protocol right and wrong against a real Kafka: what is delivered, what the user is told, and no secret.

All rows run at once: in producers of this process, by `pykafkaevt check --connect`, as routes of one bridge.
"""

import base64
import json
import logging
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from socket import create_connection
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.error import HTTPError

import pytest
from confluent_kafka.admin import AclOperation

from pykafkaevt import ConfigError, DeliveryBatch, DeliveryError, KafkaSocket, Producer, parse_socket
from pykafkaevt.cli.info import built_in_features
from pykafkaevt.kafka.library import library_path
from tests.e2e.conftest import RunningBridge
from tests.kafka.broker import free_ports
from tests.kafka.certificates import Certificates
from tests.kafka.records import consume
from tests.kafka.secure import SecureBroker
from tests.kafka.token_server import TokenServer

DOCUMENT = (Path(__file__).parents[2] / "docs" / "sockets.md").read_text().partition("\n## Security protocols\n")[2]
EXAMPLES = dict(re.findall(r"^\| (.+) \| `(kafka:kafka1:.+)` \|$", DOCUMENT, re.MULTILINE))
LISTENERS = {9092: "plaintext", 9093: "tls", 9094: "ssl", 9095: "sasl_ssl", 9096: "sasl_plaintext"}
ETC = "/etc/pykafkaevt/"
OTHER_CA = ETC + "other-ca.pem"
TOKEN_URL = "https://login.example/token"

PASSWORD, WRONG_PASSWORD = "pw=Aq3/%41+right", "pw=Zk8/%42+wrong"
CLIENT_SECRET, WRONG_SECRET = "cs~right-Rt5oPq", "cs~wrong-Yh2mNb"
KEY_PASSWORD, WRONG_KEY_PASSWORD = "kp!right-Vb6nMx", "kp!wrong-Jf9dSw"
SECRETS = [PASSWORD, WRONG_PASSWORD, CLIENT_SECRET, WRONG_SECRET, KEY_PASSWORD, WRONG_KEY_PASSWORD]

PATIENCE = 60  # seconds
RECORDS = 100


class Row(NamedTuple):
    """A mistake: the example of the document it is made in, where it connects to instead, the g. properties changed."""

    name: str
    example: str
    says: str
    at: str | None = None
    changes: Mapping[str, str | None] = MappingProxyType({})


CLEAR, TLS, CERTIFICATE, PLAIN, SCRAM_256, SCRAM_512, SCRAM_CLEAR, OAUTHBEARER = EXAMPLES
LOGIN = "check g.sasl.username and g.sasl.password"
GUEST = {"sasl.username": "guest"}
MAY_NOT = "allow User:guest to WRITE to the topic "
URL, SCOPE = "sasl.oauthbearer.token.endpoint.url", "sasl.oauthbearer.scope"

WRONG = [
    Row("clear-to-tls", CLEAR, "a listener that speaks TLS does so: set g.security.protocol=ssl or sasl_ssl", "tls"),
    Row("clear-to-sasl-tls", CLEAR, "speaks TLS does so: set g.security.protocol=ssl or sasl_ssl", "sasl_ssl"),
    Row("sasl-clear-to-tls", SCRAM_CLEAR, "speaks TLS does so: set g.security.protocol=sasl_ssl", "sasl_ssl"),
    Row("tls-to-clear", TLS, "speaks no TLS: use another port, or set g.security.protocol=plaintext", "plaintext"),
    Row("sasl-tls-to-clear", PLAIN, "or set g.security.protocol=sasl_plaintext", "sasl_plaintext"),
    Row("no-sasl", CLEAR, "wants SASL does so: set g.security.protocol=sasl_plaintext", "sasl_plaintext"),
    Row("no-sasl-by-tls", TLS, "wants SASL does so: set g.security.protocol=sasl_ssl and g.sasl.mechanism", "sasl_ssl"),
    Row(
        "sasl-unwanted",
        SCRAM_CLEAR,
        "wants no SASL: use another port, or set g.security.protocol=plaintext",
        "plaintext",
    ),
    Row("other-ca", TLS, "trusted: set g.ssl.ca.location", None, {"ssl.ca.location": OTHER_CA}),
    Row(
        "no-ca", PLAIN, "trusted: set g.ssl.ca.location to the file of the broker's CA", None, {"ssl.ca.location": None}
    ),
    Row("expired", TLS, "has expired: the broker needs a new one", "expired"),
    Row("elsewhere", TLS, "is for another host: name the broker as its certificate does", "elsewhere"),
    Row("no-certificate", TLS, "set g.ssl.certificate.location and g.ssl.key.location", "ssl"),
    Row(
        "stranger",
        CERTIFICATE,
        "the broker trusts no authority that g.ssl.certificate.location is by",
        changes={"ssl.certificate.location": ETC + "stranger.pem", "ssl.key.location": ETC + "stranger.key"},
    ),
    Row("plain-password", PLAIN, LOGIN, changes={"sasl.password": WRONG_PASSWORD}),
    Row("plain-user", PLAIN, LOGIN, changes={"sasl.username": "nobody"}),
    Row("scram-256-password", SCRAM_256, LOGIN, changes={"sasl.password": WRONG_PASSWORD}),
    Row("scram-512-password", SCRAM_512, LOGIN, changes={"sasl.password": WRONG_PASSWORD}),
    Row("scram-512-user", SCRAM_512, LOGIN, changes={"sasl.username": "nobody"}),
    Row(
        "mechanism",
        SCRAM_CLEAR,
        "set g.sasl.mechanism to one that the broker supports",
        changes={"sasl.mechanism": "PLAIN"},
    ),
    Row("may-not-write", PLAIN, MAY_NOT, changes=GUEST),
    Row("may-not-write-once", SCRAM_512, MAY_NOT, changes={**GUEST, "enable.idempotence": "false"}),
    Row(
        "client-secret",
        OAUTHBEARER,
        "check g.sasl.oauthbearer.client.id and g.sasl.oauthbearer.client.secret",
        changes={"sasl.oauthbearer.client.secret": WRONG_SECRET},
    ),
    Row("no-token-server", OAUTHBEARER, f"check g.{URL}", changes={URL: "https://127.0.0.1:1/token"}),
    Row("token-server-gossips", OAUTHBEARER, "no gossip for ***", changes={SCOPE: "gossip"}),
    Row(
        "token-server-ca",
        OAUTHBEARER,
        "set g.https.ca.location to",
        changes={"https.ca.location": OTHER_CA},
    ),
    Row("token-expired", OAUTHBEARER, "tokens are over already: compare its clock", changes={SCOPE: "expired"}),
    Row("token-forged", OAUTHBEARER, "the broker does not accept the token", changes={SCOPE: "forged"}),
]
# What librdkafka sees by itself.
REFUSED = [
    Row("key-password", CERTIFICATE, "g.ssl.key.password right?", changes={"ssl.key.password": WRONG_KEY_PASSWORD}),
    Row("no-ca-file", TLS, "is the file there, readable, and PEM?", changes={"ssl.ca.location": ETC + "nowhere.pem"}),
    Row("no-mechanism", PLAIN, "set g.sasl.mechanism: without it", changes={"sasl.mechanism": None}),
    Row("odd-mechanism", PLAIN, "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and", changes={"sasl.mechanism": "DIGEST-MD5"}),
]


class Cluster(NamedTuple):
    """A secured Kafka and the token server that it believes, the folder of their files, and the sockets for it."""

    broker: SecureBroker
    token_server: TokenServer
    folder: Path

    def socket(self, example: str, topic: str, at: str | None = None, **changes: str | None) -> KafkaSocket:
        """The socket of an example of the document, with other properties, to another listener."""
        text = EXAMPLES[example].replace(ETC, f"{self.folder}/").replace(TOKEN_URL, self.token_server.url)
        socket = parse_socket(text)
        port = self.broker.ports[at or LISTENERS[int(socket.bootstrap_servers.split(":")[1])]]
        here = {name: value and value.replace(ETC, f"{self.folder}/") for name, value in changes.items()}
        return socket.with_properties(here, brokers=f"127.0.0.1:{port}", topic=topic)

    def of(self, row: Row) -> KafkaSocket:
        """The socket of a row, with a topic of the row's name; it is tried again at a pace that leaves others some."""
        return self.socket(row.example, row.name, row.at, **row.changes, **{"reconnect.backoff.ms": "1000"})

    def assert_no_secret(self, text: str) -> None:
        """No secret of the rows is in the text, nor a token that was handed out, nor a part of one."""
        for secret in SECRETS:
            assert secret not in text
        assert base64.b64encode(f"bridge:{CLIENT_SECRET}".encode()).decode() not in text
        for token in self.token_server.handed_out:
            for part in token.split("."):
                assert part not in text


@pytest.fixture(scope="module")
def cluster(kafka_programs: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("secured")
    certificates = Certificates(folder, KEY_PASSWORD)
    for name, text in (("password", PASSWORD), ("client-secret", CLIENT_SECRET), ("key-password", KEY_PASSWORD)):
        (folder / name).write_text(text + "\n")
    with TokenServer(certificates.server, {"bridge": CLIENT_SECRET}) as token_server:
        keys = folder / "keys.json"
        keys.write_text(token_server.keys())
        users = {"bridge": PASSWORD, "guest": PASSWORD, "late": WRONG_PASSWORD}
        with SecureBroker(folder, certificates, users, keys) as broker:
            rights = [f"right-{number}" for number in range(len(EXAMPLES))]
            broker.create_topics([*rights, "right-debug", "late", "may-not-write", "may-not-write-once"])
            for user in ("bridge", "client", "late"):
                broker.allow(user, "*", AclOperation.WRITE, AclOperation.DESCRIBE)
            for topic in ("may-not-write", "may-not-write-once"):
                broker.allow("guest", topic, AclOperation.DESCRIBE)
            yield Cluster(broker, token_server, folder)


class Told(logging.Handler):
    """What a user of the library may see: log lines with their producer, errors, reports."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[int, str]] = []
        self.errors: dict[str, list[DeliveryError]] = {}
        self.reports: dict[str, list[Any]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """A log line."""
        self.lines.append((record.levelno, record.getMessage()))

    def producer(self, name: str, socket: KafkaSocket) -> Producer:
        """A producer whose errors and reports come here."""
        errors, reports = self.errors.setdefault(name, []), self.reports.setdefault(name, [])

        def on_delivery(batch: DeliveryBatch) -> None:
            reports.extend(batch)

        return Producer(socket, name=name, on_error=errors.append, on_delivery=on_delivery)

    def loud_lines(self, name: str) -> list[str]:
        """The lines of a producer that are shown unless somebody turns them off."""
        return [text for level, text in self.lines if level >= logging.WARNING and text.startswith(f"{name}: ")]


@pytest.fixture(scope="module")
def told() -> Iterator[Told]:
    handler = Told()
    logger = logging.getLogger("pykafkaevt")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.fixture(scope="module")
def producers(cluster: Cluster, told: Told) -> Iterator[dict[str, Producer]]:
    """A producer for each mistake, with a record that times out after some seconds."""
    made = {}
    for row in WRONG:
        socket = cluster.of(row).with_properties(topic_properties={"message.timeout.ms": "5000"})
        made[row.name] = told.producer(row.name, socket)
        made[row.name].publish(b"v", report=True)
    yield made
    for producer in made.values():
        producer.close(0)


def wait_until(ready: Callable[[], Any], what: Callable[[], object]) -> None:
    """AssertionError with what there is instead when it takes longer than PATIENCE."""
    deadline = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)


def by_name(row: Row) -> str:
    return row.name


def run(*arguments: str) -> tuple[int, str]:
    """The exit code of a command, and all that it printed."""
    command = [sys.executable, "-m", "pykafkaevt", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    return done.returncode, done.stdout + done.stderr


def check(socket: KafkaSocket) -> tuple[int, str]:
    """What `check --connect` does, which gives up long before its timeout."""
    return run("check", "--connect", "--timeout", f"{10 * PATIENCE}", socket.to_text(secrets=True))


@pytest.fixture(scope="module")
def checks(cluster: Cluster, producers: dict[str, Producer]) -> dict[str, tuple[int, str]]:
    """What `check --connect` does with each example and each mistake; the producers of the mistakes run meanwhile."""
    sockets = {row.name: cluster.of(row) for row in [*WRONG, *REFUSED]}
    sockets |= {example: cluster.socket(example, f"right-{place}") for place, example in enumerate(EXAMPLES)}
    with ThreadPoolExecutor(8) as pool:
        return dict(zip(sockets, pool.map(check, sockets.values()), strict=True))


@pytest.fixture(scope="module")
def bridge(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBridge]:
    """A bridge with a route for each mistake, whose target holds an event; it receives and is not ready."""
    folder = tmp_path_factory.mktemp("bridge")
    (port,) = free_ports(1)
    config = {
        "input": [f"tcp://127.0.0.1:{port}"],
        "to": cluster.socket(PLAIN, "right-0").to_text(secrets=True),
        "route": [f"{row.name}={cluster.of(row).to_text(secrets=True)}" for row in WRONG],
        "drain": 1,
    }
    # what JSON has is TOML, too
    lines = [f"{name} = {json.dumps(value)}" for name, value in config.items()]
    (folder / "bridge.toml").write_text("\n".join(lines))
    with RunningBridge(folder, "--config", str(folder / "bridge.toml")) as running:
        running.wait_until(lambda: "ready " in running.log.read_text())
        with create_connection(("127.0.0.1", port)) as connection:
            for row in WRONG:
                connection.sendall(b'{"jsonrpc":"2.0","method":"%b","params":{}}' % row.name.encode())
            yield running


def page(bridge: RunningBridge, path: str) -> str:
    """What the bridge answers, whatever the status."""
    try:
        with urllib.request.urlopen(bridge.url + path, timeout=PATIENCE) as answer:
            return str(answer.read().decode())
    except HTTPError as error:
        return error.read().decode()


# Right


def test_librdkafka_of_the_wheel_has_what_the_protocols_need() -> None:
    needed = {"ssl", "sasl_plain", "sasl_scram", "sasl_oauthbearer", "oidc"}
    assert needed <= set(built_in_features(library_path()))


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_example_of_the_document_delivers(cluster: Cluster, told: Told, checks: Any, example: str) -> None:
    topic = f"right-{list(EXAMPLES).index(example)}"
    with told.producer(example, cluster.socket(example, topic)) as producer:
        producer.publish_many([b"%d" % number for number in range(RECORDS)])
        assert producer.flush(PATIENCE) == 0
        assert (producer.last_error, producer.refusal) == (None, None)
    values = [record.value() for record in consume(cluster.broker.bootstrap_servers, topic, RECORDS)]
    assert values == [b"%d" % number for number in range(RECORDS)]
    code, text = checks[example]
    assert code == 0, text
    assert "partition  0: leader 1" in text


def test_a_certificate_that_nobody_verifies_is_accepted(cluster: Cluster, told: Told) -> None:
    verification = {"enable.ssl.certificate.verification": "false"}
    with told.producer("unverified", cluster.socket(TLS, "right-0", "expired", **verification)) as producer:
        producer.publish(b"v")
        assert producer.flush(PATIENCE) == 0
        assert producer.stats().delivered == 1


# Wrong


def test_the_mistakes_and_what_is_said_stand_in_the_document() -> None:
    rows = {row.says for row in [*WRONG, *REFUSED]} - {"no gossip for ***", MAY_NOT}
    assert [says for says in rows if says not in DOCUMENT] == []
    assert MAY_NOT.strip() in DOCUMENT
    in_document = re.findall(r"^\| .+ \| ([^`|]+) \|$", DOCUMENT, re.MULTILINE)
    advice = [text for text in in_document if text not in ("socket", "what is said")]
    assert [text for text in advice if not any(row.says.strip() in text for row in [*WRONG, *REFUSED])] == []


@pytest.mark.parametrize("row", WRONG, ids=by_name)
def test_a_mistake_is_told_by_a_producer(
    cluster: Cluster, told: Told, producers: dict[str, Producer], row: Row
) -> None:
    producer = producers[row.name]
    lines, reports = (lambda: told.loud_lines(row.name)), told.reports[row.name]
    wait_until(lambda: any(row.says in line for line in lines()), lines)
    wait_until(lambda: reports, producer.stats)
    assert [row.says in report.error.reason for report in reports] == [True], reports
    assert row.says in (producer.last_error or ""), producer.last_error
    stats = producer.stats()
    assert (stats.queued, stats.failed, stats.delivered, stats.in_flight) == (1, 1, 0, 0)


@pytest.mark.parametrize("row", WRONG, ids=by_name)
def test_a_mistake_is_told_by_check(checks: dict[str, tuple[int, str]], row: Row) -> None:
    code, text = checks[row.name]
    assert code == 1, text
    assert row.says in text
    assert len([line for line in text.splitlines() if line.startswith("Error: ")]) == 1


@pytest.mark.parametrize("row", WRONG, ids=by_name)
def test_a_mistake_is_told_by_a_bridge_that_is_not_ready(cluster: Cluster, bridge: RunningBridge, row: Row) -> None:
    start = f"{cluster.of(row)}: "

    def lines() -> list[str]:
        return [line for line in page(bridge, "/readyz").splitlines() if line.startswith(start)]

    wait_until(lambda: any(row.says in line for line in lines()), lines)
    assert row.says in bridge.log.read_text()


def test_a_bridge_keeps_the_account_and_its_secrets(cluster: Cluster, bridge: RunningBridge) -> None:
    targets = json.loads(page(bridge, "/api/snapshot"))["targets"]
    queued = {one["topic"]: one["queued"] for one in targets}
    assert queued == {"right-0": 0, **{row.name: 1 for row in WRONG}}
    assert all(one["queued"] == one["delivered"] + one["failed"] + one["in_flight"] for one in targets)
    failed = {one["topic"] for one in targets if one["failed"]}
    assert failed == {"may-not-write", "may-not-write-once"}
    for path in ("/readyz", "/metrics", "/api/snapshot"):
        cluster.assert_no_secret(page(bridge, path))
    bridge.process.terminate()
    assert bridge.process.wait(PATIENCE) == 1
    cluster.assert_no_secret(bridge.log.read_text())


@pytest.mark.parametrize("row", REFUSED, ids=by_name)
def test_what_librdkafka_refuses_is_a_config_error(cluster: Cluster, checks: Any, row: Row) -> None:
    with pytest.raises(ConfigError, match=re.escape(row.says)) as refused:
        Producer(cluster.of(row))
    cluster.assert_no_secret(repr(refused.value) + str(refused.value))
    bridge = run("bridge", "udp://127.0.0.1:5050", "--check", "--to", cluster.of(row).to_text(secrets=True))
    cluster.assert_no_secret(bridge[1])
    for code, text in (checks[row.name], bridge):
        assert code == 2, text
        assert row.says in text


# What goes on


def test_who_is_not_let_in_keeps_trying_and_loses_nothing(cluster: Cluster, told: Told) -> None:
    broker = cluster.broker
    late = {"sasl.username": "late"}
    sockets = {
        "late-password": cluster.socket(SCRAM_512, "late", **late),
        "late-client": cluster.socket(OAUTHBEARER, "late", **{"sasl.oauthbearer.client.id": "late"}),
        "late-right": cluster.socket(PLAIN, "may-not-write-yet", **GUEST),
    }
    made = {name: told.producer(name, socket) for name, socket in sockets.items()}
    try:
        for producer in made.values():
            producer.publish_many([b"%d" % number for number in range(RECORDS)])
        for producer in made.values():
            wait_until(lambda producer=producer: producer.last_error, producer.stats)
        # who may not write fails its records; who is not let in holds them
        assert [made[name].stats().in_flight for name in ("late-password", "late-client")] == [RECORDS, RECORDS]
        broker.set_password("late", PASSWORD)
        cluster.token_server.clients["late"] = CLIENT_SECRET
        broker.create_topics(["may-not-write-yet"])
        broker.allow("guest", "may-not-write-yet", AclOperation.WRITE, AclOperation.DESCRIBE)
        for producer in made.values():
            assert producer.flush(PATIENCE) == 0
        right = made["late-right"]

        def one_more() -> bool:
            right.publish(b"more")
            right.flush(1)
            return right.last_error is None

        wait_until(one_more, right.stats)
        for producer in made.values():
            stats = producer.stats()
            assert producer.last_error is None
            assert stats.queued == stats.delivered + stats.failed
        assert [made[name].stats().delivered for name in ("late-password", "late-client")] == [RECORDS, RECORDS]
    finally:
        for producer in made.values():
            producer.close(0)
    consume(broker.bootstrap_servers, "late", 2 * RECORDS)
    consume(broker.bootstrap_servers, "may-not-write-yet", right.stats().delivered)


# Secrets


@pytest.mark.parametrize("example", [CERTIFICATE, PLAIN, SCRAM_512, OAUTHBEARER])
def test_librdkafka_shows_no_secret_while_it_is_debugged(cluster: Cluster, told: Told, example: str) -> None:
    before = len(told.lines)
    literal = {
        "sasl.password": PASSWORD,
        "sasl.oauthbearer.client.secret": CLIENT_SECRET,
        "ssl.key.password": KEY_PASSWORD,
    }
    own = parse_socket(EXAMPLES[example]).global_properties
    changes = {name: value for name, value in literal.items() if name in own}
    name = f"debug {example}"
    with told.producer(name, cluster.socket(example, "right-debug", debug="all", **changes)) as producer:
        producer.client.log_rate.seconds = 1e-9  # no line is held back
        producer.client.log_rate.burst = 1_000_000
        producer.publish(b"v")
        assert producer.flush(PATIENCE) == 0
    # they go to logging on a thread of their own
    wait_until(lambda: len(told.lines) - before > 100, lambda: len(told.lines) - before)
    text = "\n".join(line for _, line in told.lines[before:])
    cluster.assert_no_secret(text)


def test_a_socket_with_secrets_shows_none(cluster: Cluster) -> None:
    for row in [*WRONG, *REFUSED]:
        socket = cluster.of(row)
        cluster.assert_no_secret(f"{socket} {socket!r} {socket.to_text()}")


def test_nothing_that_was_told_holds_a_secret(
    cluster: Cluster, told: Told, producers: dict[str, Producer], checks: dict[str, tuple[int, str]]
) -> None:
    cluster.assert_no_secret("\n".join(line for _, line in told.lines))
    cluster.assert_no_secret(repr(told.errors) + repr(told.reports))
    cluster.assert_no_secret("\n".join(text for _, text in checks.values()))
    for producer in producers.values():
        cluster.assert_no_secret(f"{producer!r} {producer.stats()} {producer.rdkafka_stats()} {producer.last_error}")
    assert len(cluster.token_server.handed_out) >= 3
