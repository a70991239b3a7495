"""Inputs with TLS: right and wrong certificates, peers that do not speak it, and what all of them are told."""

import logging
import socket
import ssl
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from click.testing import CliRunner

from pykafkaevt.bridge import acceptor, connections, tls
from pykafkaevt.bridge.access import Access
from pykafkaevt.bridge.admission import admission_of, admissions_of
from pykafkaevt.bridge.config import BridgeConfig
from pykafkaevt.bridge.connections import UNANSWERED
from pykafkaevt.bridge.inputs import OPTIONS, Input, parse_input
from pykafkaevt.bridge.streams import Streams
from pykafkaevt.cli.commands import commands
from pykafkaevt.errors import ConfigError
from tests.unit.certificates import PASSWORD, Certificates
from tests.unit.test_bridge_streams import (
    DEFAULTS,
    EVENT,
    FakeIngest,
    hep,
    is_quiet,
    received,
    request,
    started,
    tcp,
    until,
)

SECONDS = 10


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def source(certificates):
    """source(scheme, **options): an input with TLS; options are file names, by default those that are right."""

    def made(scheme="tcp+tls", **names):
        options = {"cert": "server.pem", "key": "server.key", **names}
        paths = {name: certificates.path(value) for name, value in options.items() if value is not None}
        return Input(f"{scheme}://127.0.0.1:0", scheme, "127.0.0.1", 0, options=paths)

    return made


class Running(Streams):
    """Streams whose inputs admit by `admissions`, which a test may change."""

    def __init__(self, *inputs, **options):
        self.admissions = {one: admission_of(BridgeConfig(inputs=inputs), one) for one in inputs}
        super().__init__(inputs, FakeIngest, **{**DEFAULTS, **options}, admission=lambda one: self.admissions[one])

    @property
    def failed_ones(self):
        return self.listeners[0].failed_handshakes


@pytest.fixture
def run(monkeypatch):
    """run(*inputs, **options): a running Running."""
    yield from started(monkeypatch, Running)


@contextmanager
def connected(running, number=0):
    """A connection to a listener, without TLS."""
    with socket.create_connection(running.listeners[number].socket.getsockname(), SECONDS) as peer:
        yield peer


@pytest.fixture
def encrypted(certificates):
    """encrypted(running, client=…, **settings): a TLS connection that trusts `ca`; client: its certificate's name."""

    @contextmanager
    def connect(running, number=0, client=None, **settings):
        context = ssl.create_default_context(cafile=certificates.path("ca.pem"))
        for name, value in settings.items():
            setattr(context, name, value)
        if client is not None:
            context.load_cert_chain(certificates.path(f"{client}.pem"), certificates.path(f"{client}.key"))
        with (
            connected(running, number) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as peer,
        ):
            yield peer

    return connect


def is_refused(peer):
    """Whether the other side has ended the connection; of TLS 1.3 a client learns that when it reads."""
    try:
        return peer.recv(1) == b""
    except (ssl.SSLError, ConnectionError):
        return True


# Right


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_request_is_answered_when_it_is_reported_and_not_before(run, source, encrypted, version):
    running = run(source())
    with encrypted(running, maximum_version=version) as peer:
        assert peer.version() == version.name.replace("_", ".").replace("TLSv1.", "TLSv1.")
        peer.sendall(request(7))
        until(lambda: running.ingests[0].reports)
        assert is_quiet(peer)
        running.ingests[0].reports[0](None)
        assert peer.recv(4096) == b'{"jsonrpc":"2.0","result":"OK","id":7}'
        assert running.ingests[0].sources == ["{}:{}".format(*peer.getsockname())]
    until(lambda: not running.connections(running.inputs[0].url))
    assert running.failed_ones == 0


def test_hep_by_tls(run, source, encrypted):
    running = run(source("hep+tls"))
    assert running.ingests[0].kind == "hep"
    packets = [hep(time=n) for n in range(500)]
    with encrypted(running) as peer:
        peer.sendall(b"".join(packets))
        until(lambda: len(running.ingests[0].messages) == len(packets))
    assert running.ingests[0].messages == packets


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("way", ["unwrap", "close"])
def test_all_that_a_peer_sent_before_it_closed_is_taken(run, source, encrypted, version, way):
    running = run(source())
    with encrypted(running, maximum_version=version) as peer:
        peer.sendall(EVENT * 20_000)
        if way == "unwrap":
            # Python 3.10 does not say that it closes too
            with suppress(ssl.SSLEOFError):
                peer.unwrap()
    until(lambda: len(running.ingests[0].messages) == 20_000)
    until(lambda: not running.connections(running.inputs[0].url))
    assert set(running.ingests[0].messages) == {EVENT}
    assert running.ingests[0].invalids == []


def test_many_requests_are_answered_in_order_though_not_all_are_read_at_once(run, source, encrypted):
    running = run(source())
    taken, sent = running.ingests[0], 4 * UNANSWERED
    requests = b"".join(map(request, range(sent)))

    def report():
        for place in range(sent):
            until(lambda place=place: len(taken.reports) > place)
            taken.reports[place](None)

    with encrypted(running) as peer:
        sender, reporter = threading.Thread(target=peer.sendall, args=(requests,)), threading.Thread(target=report)
        sender.start()
        until(lambda: taken.reports)
        time.sleep(0.15)
        assert len(taken.reports) < UNANSWERED + connections.PIECE // 20
        reporter.start()
        assert [int(one["id"]) for one in received(peer, sent)] == list(range(sent))
        sender.join()
        reporter.join()
    assert len(taken.messages) == sent


@pytest.mark.parametrize("ends", ["at once", "by itself"])
def test_the_end_answers_and_then_closes(run, source, encrypted, monkeypatch, ends):
    monkeypatch.setattr(connections, "CLOSING", 0.1 if ends == "by itself" else 60)
    running = run(source())
    with encrypted(running) as peer:
        peer.sendall(request(1))
        until(lambda: running.ingests[0].reports)
        running.stop()
        assert is_quiet(peer)
        running.ingests[0].reports[0](None)
        assert received(peer, 1)[0]["id"] == 1
        if ends == "at once":
            # reading is what answers its close
            assert peer.recv(1) == b""
            peer.unwrap()
        running.threads[0].join(SECONDS)
        assert not running.threads[0].is_alive()


def test_a_client_certificate_that_is_asked_for(run, source, encrypted):
    running = run(source(client_ca="ca.pem"))
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        with encrypted(running, client="client", maximum_version=version) as peer:
            peer.sendall(request(1))
            until(lambda: running.ingests[0].reports)
            running.ingests[0].reports.pop()(None)
            assert received(peer, 1)[0]["id"] == 1
    assert running.failed_ones == 0


# Wrong


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("client", "reason"),
    [
        (None, "it sent no certificate, and client_ca asks for one"),
        ("stranger", "its certificate is not accepted: unable to get local issuer certificate"),
        ("late", "its certificate is not accepted: certificate has expired"),
    ],
)
def test_a_client_certificate_that_is_wrong(run, source, encrypted, caplog, version, client, reason):
    running = run(source(client_ca="ca.pem"))
    with (
        suppress(ssl.SSLError, ConnectionError),
        encrypted(running, client=client, maximum_version=version) as peer,
    ):
        peer.sendall(EVENT)
        assert is_refused(peer)
    until(lambda: running.failed_ones == 1)
    until(lambda: f"failed: {reason}" in caplog.text)
    assert caplog.records[-1].levelno == logging.WARNING
    assert running.ingests[0].messages == []


@pytest.mark.parametrize("settings", [{"check_hostname": False}, {}])
def test_a_client_that_does_not_accept_our_certificate(run, source, certificates, caplog, settings):
    running = run(source(cert="stranger.pem", key="stranger.key"))
    context = ssl.create_default_context(cafile=certificates.path("ca.pem"))
    with connected(running) as plain, pytest.raises(ssl.SSLCertVerificationError):
        context.wrap_socket(plain, server_hostname="127.0.0.1")
    until(lambda: running.failed_ones == 1)
    until(lambda: "failed: it does not know the CA of this certificate" in caplog.text)


def test_a_client_of_an_old_version(run, source, certificates, caplog):
    running = run(source())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certificates.path("ca.pem"))
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with connected(running) as plain, pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(plain, server_hostname="127.0.0.1")
    until(lambda: "failed: it speaks no TLS 1.2 or later" in caplog.text)


@pytest.mark.parametrize("sent", [EVENT, request(1), hep(), b"\x00", b"GET / HTTP/1.1\r\n\r\n"])
def test_plaintext_to_an_input_with_tls_is_called_so(run, source, caplog, sent):
    running = run(source())
    with connected(running) as peer:
        peer.sendall(sent)
        assert is_refused(peer)
    until(lambda: "failed: it does not speak TLS, and this input does nothing else" in caplog.text)
    assert (running.failed_ones, running.ingests[0].messages, running.ingests[0].invalids) == (1, [], [])


@pytest.mark.parametrize("scheme", ["tcp", "hep+tcp"])
def test_tls_to_an_input_without_it_is_called_so(run, encrypted, caplog, scheme):
    running = run(tcp(scheme))
    with pytest.raises((ssl.SSLError, ConnectionError)), encrypted(running):
        pass
    kind = scheme.partition("+")[0]
    until(lambda: f"speaks TLS, and this input does not: {kind}+tls:// does" in caplog.text)
    ((reason, excerpt),) = running.ingests[0].invalids
    assert (reason, excerpt[:2], len(excerpt)) == ("tls", b"\x16\x03", 128)


# Bounds


def test_peers_without_a_handshake_hold_up_nobody_and_are_left(run, source, encrypted, monkeypatch, caplog):
    monkeypatch.setattr(acceptor, "HANDSHAKE", 1.0)
    running = run(source())
    with connected(running) as silent, connected(running) as half:
        half.sendall(b"\x16\x03\x01\x02\x00\x01")
        for _ in range(3):
            with encrypted(running) as peer:
                peer.sendall(EVENT)
        until(lambda: len(running.ingests[0].messages) == 3)
        assert is_refused(silent)
        assert is_refused(half)
    until(lambda: running.failed_ones == 2)
    assert "failed: it took too long" in caplog.text


def test_failed_handshakes_are_all_counted_and_said_once_in_a_while(run, source, caplog):
    running = run(source())
    for _ in range(50):
        with connected(running) as peer:
            peer.sendall(b"no TLS")
            assert is_refused(peer)
    for _ in range(50):
        with connected(running):
            pass
    until(lambda: running.failed_ones == 100)
    assert caplog.text.count("handshake") == 1
    assert not running.connections(running.inputs[0].url)


def test_handshakes_count_as_connections(run, source, monkeypatch, caplog):
    monkeypatch.setattr(acceptor, "CONNECTIONS", 2)
    running = run(source())
    with connected(running), connected(running), connected(running) as third:
        assert is_refused(third)
    assert "is closed: 2 are open" in caplog.text
    until(lambda: running.failed_ones == 2)


def test_the_end_leaves_handshakes(run, source):
    running = run(source())
    with connected(running) as peer:
        time.sleep(0.05)
        running.stop()
        running.threads[0].join(SECONDS)
        assert not running.threads[0].is_alive()
        assert is_refused(peer)


def test_peers_whose_address_may_not_send_are_refused_before_the_handshake(run, source):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    running = run(source(), Input(f"tcp://127.0.0.1:{port}", "tcp", "127.0.0.1", port))
    refused = []
    for one in running.ingests:
        one.refuse = refused.append
    for one, admission in running.admissions.items():
        running.admissions[one] = admission._replace(access=Access(["127.0.0.2", "10.0.0.0/8"]))
    for number in range(2):
        with connected(running, number) as peer:
            assert is_refused(peer)
        address = running.listeners[number].socket.getsockname()
        with socket.create_connection(address, SECONDS, ("127.0.0.2", 0)) as peer:
            assert is_quiet(peer)
    until(lambda: len(refused) == 2)
    assert all(one.startswith("127.0.0.1:") for one in refused)
    assert running.failed_ones <= 1


def test_a_renewed_certificate_is_for_the_next_connection(run, source, encrypted):
    running = run(source())
    with encrypted(running) as before:
        renewed = source(cert="renewed.pem", key="renewed.key")
        running.admissions[renewed] = admission_of(BridgeConfig(inputs=(renewed,)), renewed)
        with encrypted(running) as after:
            assert before.getpeercert(True) != after.getpeercert(True)
            for peer in (before, after):
                peer.sendall(EVENT)
            until(lambda: len(running.ingests[0].messages) == 2)


# The check


def uri(certificates, scheme="tcp+tls", **options):
    query = "&".join(f"{name}={str(value).format(folder=certificates.folder)}" for name, value in options.items())
    return f"{scheme}://127.0.0.1:5061?{query}"


RIGHT = {"cert": "{folder}/server.pem", "key": "{folder}/server.key"}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"cert": "{folder}/server.both", "key": None},
        {"client_ca": "{folder}/ca.pem"},
        {"key": "{folder}/locked.key", "key_password": "@file:{folder}/password"},
        {"key": "{folder}/locked.key", "key_password": "@env:KEY_PASSWORD"},
        # what is not needed is not asked for
        {"key_password": "@env:NOT_THERE"},
    ],
)
def test_what_can_be_used_passes(certificates, monkeypatch, options):
    certificates.path("password").write_text(f"{PASSWORD}\n")
    monkeypatch.setenv("KEY_PASSWORD", PASSWORD)
    given = {name: value for name, value in {**RIGHT, **options}.items() if value is not None}
    result = CliRunner().invoke(commands, ["bridge", uri(certificates, **given), "--to", "kafka:h/t", "--check"])
    assert (result.exit_code, result.stderr) == (0, "")
    lines = [line.split(None, 1) for line in result.stdout.splitlines()]
    assert ["input", "tcp+tls://127.0.0.1:5061"] in lines
    assert [f"cert {given['cert'].format(folder=certificates.folder)}"] in [[" ".join(line)] for line in lines]
    assert PASSWORD not in result.output


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"cert": "{folder}/none"}, "cert {folder}/none: No such file or directory"),
        ({"key": "{folder}/none"}, "key {folder}/none: No such file or directory"),
        ({"client_ca": "{folder}/none"}, "client_ca {folder}/none: No such file or directory"),
        ({"cert": "{folder}"}, "cert {folder}: Is a directory"),
        ({"key": "/dev/null"}, "key /dev/null is no regular file"),
        ({"cert": "{folder}/server.key"}, "cert {folder}/server.key holds no certificate in PEM"),
        ({"key": "{folder}/server.pem"}, "key {folder}/server.pem holds no private key in PEM"),
        ({"key": None}, "cert {folder}/server.pem holds no private key in PEM"),
        ({"client_ca": "{folder}/server.key"}, "client_ca {folder}/server.key holds no certificate in PEM"),
        ({"key": "{folder}/renewed.key"}, "key {folder}/renewed.key is not that of cert {folder}/server.pem"),
        ({"key": "{folder}/locked.key"}, "key {folder}/locked.key is encrypted, and there is no key_password"),
        (
            {"key": "{folder}/locked.key", "key_password": "@env:WRONG"},
            "key_password does not open key {folder}/locked.key",
        ),
        (
            {"key": "{folder}/locked.key", "key_password": "@env:NOT_THERE"},
            "key_password: there is no environment variable 'NOT_THERE'",
        ),
        (
            {"key": "{folder}/locked.key", "key_password": "@env:LONG"},
            "key_password: password cannot be longer than 1024 bytes",
        ),
        (
            {"cert": "{folder}/expired.pem", "key": "{folder}/expired.key"},
            "cert {folder}/expired.pem: certificate has expired",
        ),
        (
            {"cert": "{folder}/early.pem", "key": "{folder}/early.key"},
            "cert {folder}/early.pem: certificate is not yet valid",
        ),
    ],
)
def test_what_cannot_be_used_is_one_line_that_says_why(certificates, monkeypatch, options, reason):
    monkeypatch.setenv("WRONG", "wr0ng~P4ssword")
    monkeypatch.setenv("LONG", "l0ng~" * 300)
    given = {name: value for name, value in {**RIGHT, **options}.items() if value is not None}
    result = CliRunner().invoke(commands, ["bridge", uri(certificates, **given), "--to", "kafka:h/t", "--check"])
    assert result.exit_code == 2
    # OpenSSL's limit is not the same everywhere
    line = result.stderr.replace("1023 bytes", "1024 bytes")
    assert line == f"Error: tcp+tls://127.0.0.1:5061: {reason.format(folder=certificates.folder)}\n"


def test_authorities_that_have_all_expired_are_found(source, monkeypatch):
    one = source(client_ca="ca.pem")
    context = tls.server_context(one)
    assert tls.trouble(one, context) is None
    monkeypatch.setattr(tls.time, "time", lambda: ssl.cert_time_to_seconds("Jan  1 00:00:00 9999 GMT"))
    assert tls.trouble(one, context) == f"client_ca {one.options['client_ca']}: certificate has expired"


@pytest.mark.parametrize("name", ["expired", "early"])
def test_a_start_with_a_certificate_that_peers_will_not_accept_says_so_and_goes_on(source, caplog, name):
    one = source(cert=f"{name}.pem", key=f"{name}.key")
    admissions = admissions_of(BridgeConfig(inputs=(one,)))
    assert admissions[one].context is not None
    ((level, text),) = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert level == "ERROR"
    assert text.startswith(f"{one.url}: cert {one.options['cert']}: certificate ")


# Options of the URL


def test_the_document_has_each_option_of_an_input():
    text = (Path(__file__).parents[2] / "docs" / "bridge.md").read_text()
    table = text.split("| option of an input | |")[1].split("\n\n")[0]
    assert [name for name in OPTIONS if f"`{name}=" not in table] == []


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("udp://h:1", {}),
        ("udp://h:1?allow=10.0.0.0/8&allow=2001:db8::/32", {"allow": ("10.0.0.0/8", "2001:db8::/32")}),
        ("hep://h:1?hep_key=@env:A&hep_key=@file:/b", {"hep_key": ("@env:A", "@file:/b")}),
        ("tcp+tls://h:1?cert=/a%26b%3Fc%3d%25", {"cert": "/a&b?c=%"}),
        ("hep+tls://[::1]:1?cert=a&hep_key=@env:A", {"cert": "a", "hep_key": ("@env:A",)}),
    ],
)
def test_options_stand_behind_the_url(url, options):
    found = parse_input(url)
    assert found.url == url.partition("?")[0]
    assert {name: value if isinstance(value, tuple) else str(value) for name, value in found.options.items()} == options
    assert found == parse_input(f"{found.url}?cert=other" if found.tls else found.url)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("tcp+tls://h:1", "'tcp+tls://h:1' needs its certificate: tcp+tls://h:1?cert=PATH&key=PATH"),
        ("tcp+tls://h:1?key=/k", "needs its certificate"),
        ("udp://h:1?", "'udp://h:1' has no option '', only allow"),
        ("udp://h:1?cert=/c", "'udp://h:1' has no option 'cert', only allow"),
        ("tcp://h:1?hep_key=@env:A", "has no option 'hep_key', only allow"),
        ("hep://h:1?allow", "'hep://h:1': allow has no value"),
        ("hep://h:1?allow=", "'hep://h:1': allow has no value"),
        ("hep://h:1?allow=10.0.0.1/8", "'hep://h:1': allow: 10.0.0.1/8 has host bits set"),
        ("hep://h:1?allow=::ffff:10.0.0.0/104", "'::ffff:10.0.0.0/104' is IPv4 in IPv6: write it as IPv4"),
        ("hep://h:1?allow=h", "does not appear to be an IPv4 or IPv6 network"),
        ("hep://h:1?hep_key=s3cret", "hep_key: is neither @env:NAME nor @file:PATH"),
        ("hep://h:1?hep_key=@file:", "hep_key: is neither @env:NAME nor @file:PATH"),
        ("tcp+tls://h:1?cert=/a&cert=/b", "cert is there twice"),
        ("tcp+tls://h:1?cert=/a&key_password=s3cret", "key_password: is neither @env:NAME nor @file:PATH"),
        ("tcp+tls://h?key_password=s3cret", "'h' is no HOST:PORT"),
        ("tcp+tsl://h:1?key_password=s3cret", "'tcp+tsl:…' begins with none of"),
        ("hep:h:1?hep_key=s3cret", "'hep:h:1' is no hep://HOST:PORT"),
        ("hep://h:1?hep_key=s3cret\x1b", "'hep://h:1' has a control character"),
        ("tcp+tls://h:1?cert=a%1bb", "has a control character"),
    ],
)
def test_wrong_options_say_why_and_show_no_secret(url, reason):
    with pytest.raises(ValueError, match=r".") as caught:
        parse_input(url)
    assert reason in str(caught.value)
    assert "s3cret" not in str(caught.value)


# Both for all inputs and for one


def test_an_inputs_own_options_are_instead_of_those_for_all(tmp_path, monkeypatch):
    monkeypatch.setenv("KEY", "k")
    config = BridgeConfig(
        inputs=tuple(map(parse_input, ("hep://h:1", "hep://h:2?allow=10.0.0.1&hep_key=@env:OWN", "stdin:"))),
        allow=("192.0.2.0/24",),
        hep_keys=("@env:KEY",),
    )
    first, second, third = config.inputs
    assert admission_of(config, first).access.admits("192.0.2.1")
    assert admission_of(config, third).access.admits("10.0.0.1")
    with pytest.raises(ConfigError, match=r"^hep://h:2: hep_key: there is no environment variable 'OWN'$"):
        admission_of(config, second)
    monkeypatch.setenv("OWN", "o")
    own = admission_of(config, second).access
    assert [own.admits(one) for one in ("10.0.0.1", "192.0.2.1")] == [True, False]


@pytest.mark.parametrize(("key", "fits"), [("", False), ("k" * 1024, True), ("k" * 1025, False), ("é", True)])
def test_a_key_has_its_size(tmp_path, key, fits):
    path = tmp_path / "key"
    path.write_text(f"{key}\n")
    source = parse_input(f"hep://h:1?hep_key=@file:{path}")
    config = BridgeConfig(inputs=(source,))
    if fits:
        admission_of(config, source)
        return
    with pytest.raises(ConfigError) as caught:
        admission_of(config, source)
    assert str(caught.value) == f"hep://h:1: hep_key: @file:{path} must hold 1 to 1024 bytes"


@pytest.mark.parametrize(
    ("inputs", "options", "reason"),
    [
        (["stdin:", "unix:/a"], {"allow": ("10.0.0.1",)}, "allow: is for udp, tcp and hep inputs, and there is none"),
        (["udp://h:1"], {"hep_keys": ("@env:A",)}, "hep_key: is for hep inputs, and there is none"),
    ],
)
def test_options_for_all_need_an_input_that_they_are_for(inputs, options, reason):
    with pytest.raises(ConfigError) as caught:
        BridgeConfig(inputs=tuple(map(parse_input, inputs)), **options)
    assert str(caught.value) == reason
