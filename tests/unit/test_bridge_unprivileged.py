"""A real bridge's doors, tried by an account without rights on the same machine: refused, told, bounded."""

import json
import os
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import pytest

from pykafkaevt.bridge.control import bind_control
from pykafkaevt.bridge.datagrams import open_sockets
from pykafkaevt.bridge.inputs import parse_input
from pykafkaevt.errors import ConfigError
from tests.unit import test_bridge_doors
from tests.unit.certificates import Certificates
from tests.unit.test_bridge_doors import LINUX, PATIENCE, free_port
from tests.unit.test_hep import OPTIONS, chunk, packet

NOBODY = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--no-new-privs", "--inh-caps=-all"]
TOKEN, KEY = "t0ken~S3cr3t-of-the-bridge", "k3y~S3cr3t"
TIMES = 200  # that each door is tried
EVENT = b'{"jsonrpc":"2.0","method":"E"}'

pytestmark = [
    LINUX,
    pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv (Debian: util-linux)"),
    # in CI, which is root, a skip is a failure
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, which alone can become another user"),
]

# What the other account tries; it imports nothing of ours. Its argument: names and addresses; it prints what happened.
TRIES = r"""
import json, os, signal, socket, ssl, sys, urllib.error, urllib.request
given = json.loads(sys.argv[1])

def outcome(action):
    try:
        return str(action())
    except urllib.error.HTTPError as error:
        return str(error.code)
    except OSError as error:
        return type(error).__name__

def connect(path):
    socket.socket(socket.AF_UNIX).connect(path)

def call(method, token=None):
    body = json.dumps({"jsonrpc": "2.0", "method": method, "params": ["E", "kafka:h/t"], "id": 1}).encode()
    headers = {"Content-Type": "application/json", **({"Authorization": "Bearer " + token} if token else {})}
    with urllib.request.urlopen(urllib.request.Request(given["http"] + "/mi", body, headers)) as answer:
        return json.load(answer).get("error", {}).get("code", "done")

def send(family, address, *messages):
    with socket.socket(family, socket.SOCK_DGRAM) as one:
        for message in messages:
            one.sendto(message, address)

def tls():
    context = ssl._create_unverified_context()
    with socket.create_connection(("127.0.0.1", given["tls"])) as plain:
        with context.wrap_socket(plain) as one:
            one.sendall(given["event"].encode())
            return one.recv(1)

def plaintext():
    with socket.create_connection(("127.0.0.1", given["tls"])) as one:
        one.sendall(given["event"].encode())
        return one.recv(1)

pid, event = given["pid"], given["event"].encode()
found = {
    "uid": str(os.geteuid()),
    "control": outcome(lambda: connect(given["control"])),
    "unix": outcome(lambda: send(socket.AF_UNIX, given["unix"], event)),
    **{"read " + path: outcome(lambda: open(path).read()) for path in given["secrets"]},
    **{"remove " + path: outcome(lambda: os.unlink(path)) for path in (given["control"], given["unix"])},
    **{"signal " + name: outcome(lambda: os.kill(pid, getattr(signal, name))) for name in ("SIGTERM", "SIGHUP")},
    **{"/proc " + name: outcome(lambda: os.listdir(f"/proc/{pid}/{name}") if name == "fd"
                                else open(f"/proc/{pid}/{name}").read()) for name in ("environ", "fd", "mem")},
    "cmdline": open(f"/proc/{pid}/cmdline").read(),
    "metrics": outcome(lambda: urllib.request.urlopen(given["http"] + "/metrics").status),
    **{method: outcome(lambda: call(method)) for method in ("events_list", "event_subscribe", "raise_event", "reload")},
    "guesses": sorted({outcome(lambda: call("reload", "guess-%012d" % n)) for n in range(given["times"])}),
}
for _ in range(given["times"]):
    send(socket.AF_INET, ("127.0.0.1", given["udp"]), event)
    send(socket.AF_INET, ("127.0.0.1", given["hep"]), *map(bytes.fromhex, given["packets"]))
    outcome(tls)
    outcome(plaintext)
print(json.dumps(found))
"""


def python_of_nobody():
    """An interpreter that the other account can run: ours may lie in a home."""
    for path in (sys.executable, *map(shutil.which, ("python3", "/usr/bin/python3", "/usr/local/bin/python3"))):
        if path and subprocess.run([*NOBODY, path, "-Ic", ""], check=False, capture_output=True).returncode == 0:
            return path
    pytest.fail("no python3 can be run by nobody")


def as_nobody(code, *arguments):
    """What a program of the other account prints."""
    command = [*NOBODY, python_of_nobody(), "-Ic", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def folder():
    """A folder that every account can enter; pytest's own cannot be."""
    path = Path(tempfile.mkdtemp(prefix="pykafkaevt-doors-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def written(path, text):
    path.write_text(text)
    path.chmod(0o600)
    return path


class Doors(test_bridge_doors.Doors):
    """A bridge with all kinds of doors, run by root, and what it takes to knock."""

    def __init__(self, folder):
        self.udp, self.hep, self.tls, self.http = (free_port(kind) for kind in (2, 2, 1, 1))
        self.control, self.unix, self.log = folder / "control", folder / "events", folder / "log"
        self.token, self.key = written(folder / "token", TOKEN), written(folder / "hep.key", KEY)
        (folder / "certificates").mkdir(mode=0o700)
        self.certificates = Certificates(folder / "certificates")
        cert, client_ca = (self.certificates.path(name) for name in ("server.both", "ca.pem"))
        urls = [
            f"udp://127.0.0.1:{self.udp}?allow=127.0.0.2",
            f"hep://127.0.0.1:{self.hep}?hep_key=@file:{self.key}",
            f"tcp+tls://127.0.0.1:{self.tls}?cert={cert}&client_ca={client_ca}",
            f"unix:{self.unix}",
        ]
        command = [sys.executable, "-m", "pykafkaevt", "bridge", *urls, "--dead-letter", "kafka:embedded/dead"]
        command += ["--control", self.control, "--http", f"127.0.0.1:{self.http}", "--http-token", self.token]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(list(map(str, command)), stderr=log)

    def figures(self):
        return self.ask("kafka_stats")["result"]

    def inputs(self):
        """Their figures by scheme."""
        return {one["url"].partition(":")[0]: one for one in self.figures()["inputs"]}

    def until(self, condition):
        deadline = time.monotonic() + PATIENCE
        while not condition(self.inputs()):
            assert time.monotonic() < deadline, (self.inputs(), self.log.read_text())
            time.sleep(0.05)


@pytest.fixture
def doors(folder):
    with Doors(folder) as one:
        yield one


def hep_of(*keys):
    return packet(*(chunk(0x000E, key.encode()) for key in keys), chunk(0x000B, b"\x01"), chunk(0x000F, OPTIONS))


def test_another_account_gets_nowhere_and_costs_little(doors):
    memory, size = doors.memory(), doors.log.stat().st_size
    secrets = [doors.token, doors.key, doors.certificates.path("server.both")]
    found = json.loads(
        as_nobody(
            TRIES,
            json.dumps(
                {
                    **{name: getattr(doors, name) for name in ("udp", "hep", "tls")},
                    **{name: str(getattr(doors, name)) for name in ("control", "unix")},
                    "http": f"http://127.0.0.1:{doors.http}",
                    "secrets": list(map(str, secrets)),
                    "pid": doors.process.pid,
                    "event": EVENT.decode(),
                    "packets": [hep_of().hex(), hep_of("wrong").hex(), hep_of()[:-1].hex()],
                    "times": TIMES,
                }
            ),
        )
    )
    assert found.pop("uid") != "0"
    command = found.pop("cmdline")
    assert str(doors.token) in command
    assert TOKEN not in command
    assert KEY not in command
    # reading is for all
    assert (found.pop("metrics"), found.pop("events_list")) == ("200", "-32602")
    changing = {name: found.pop(name) for name in ("event_subscribe", "raise_event", "reload")}
    assert set(changing.values()) == {"403"}
    assert found.pop("guesses") == ["401"]
    assert set(found.values()) == {"PermissionError"}
    assert doors.process.poll() is None
    # what was sent is counted, and none of it is in Kafka
    doors.until(lambda inputs: inputs["hep"]["invalid"] == 3 * TIMES and inputs["udp"]["refused"] == TIMES)
    doors.until(lambda inputs: inputs["tcp+tls"]["failed_handshakes"] == 2 * TIMES)
    stats = doors.figures()
    assert {name: stats["invalid"][name] for name in ("hep_no_key", "hep_wrong_key", "hep_truncated")} == dict.fromkeys(
        ("hep_no_key", "hep_wrong_key", "hep_truncated"), TIMES
    )
    assert [one["queued"] for one in stats["targets"]] == [0, 0]
    assert all(one["received"] == 0 for name, one in doors.inputs().items() if name != "hep")
    assert doors.memory() - memory < 30
    log = doors.log.read_text()[size:]
    assert len(log) < 20_000
    for told in ("that allow does not name was refused", "reason=hep_wrong_key", "the TLS handshake of"):
        assert told in log
    assert TOKEN not in log
    assert KEY not in log
    assert "Traceback" not in log


def test_who_may_comes_through_all_of_them(doors):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.2", 0))
        one.sendto(EVENT, ("127.0.0.1", doors.udp))
        one.sendto(hep_of(KEY), ("127.0.0.1", doors.hep))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.sendto(EVENT, str(doors.unix))
    context = ssl.create_default_context(cafile=doors.certificates.path("ca.pem"))
    context.load_cert_chain(doors.certificates.path("client.both"))
    with (
        socket.create_connection(("127.0.0.1", doors.tls), PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as one,
    ):
        one.sendall(EVENT[:-1] + b',"id":1}')
        assert json.loads(one.recv(1000))["result"] == "OK"
        # a new certificate and another key are for who comes from then on
        before = one.getpeercert(True)
        doors.certificates.path("renewed.both").replace(doors.certificates.path("server.both"))
        written(doors.key, "another")
        doors.process.send_signal(signal.SIGHUP)
        doors.until(lambda _: "reloaded" in doors.log.read_text())
        one.sendall(EVENT[:-1] + b',"id":2}')
        assert json.loads(one.recv(1000))["result"] == "OK"
    with (
        socket.create_connection(("127.0.0.1", doors.tls), PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as one,
    ):
        assert one.getpeercert(True) != before
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        for key in (KEY, "another"):
            one.sendto(hep_of(key), ("127.0.0.1", doors.hep))
    doors.until(lambda inputs: inputs["hep"]["received"] == 3)
    assert {name: one["queued"] for name, one in doors.inputs().items()} == {
        **{"udp": 1, "hep": 2, "tcp+tls": 2, "unix": 1},
        "mi": 0,
    }
    metrics = urllib.request.urlopen(f"http://127.0.0.1:{doors.http}/metrics").read().decode()
    assert f'pykafkaevt_input_refused_total{{input="udp://127.0.0.1:{doors.udp}"}} 0.0' in metrics
    assert f'pykafkaevt_input_failed_handshakes_total{{input="tcp+tls://127.0.0.1:{doors.tls}"}} 0.0' in metrics
    # files that cannot be used leave all as it was
    written(doors.key, "")
    doors.process.send_signal(signal.SIGHUP)
    doors.until(lambda _: "the configuration stays as it was" in doors.log.read_text())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendto(hep_of("another"), ("127.0.0.1", doors.hep))
    doors.until(lambda inputs: inputs["hep"]["queued"] == 3)
    doors.process.send_signal(signal.SIGTERM)
    assert doors.process.wait(PATIENCE) == 0


# Files of another account, in a folder of its own where the bridge is told to have its sockets

FOREIGN = {
    "a file": "open(path, 'w')",
    "a link to a file of root": "os.symlink(given, path)",
    "a link to nowhere": "os.symlink('/nonexistent/file', path)",
    "a folder": "os.mkdir(path)",
    "a FIFO": "os.mkfifo(path)",
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_files_of_another_account_are_left_and_named(folder, kind):
    ours = written(folder / "secret", "of root")
    theirs = folder / "theirs"
    theirs.mkdir()
    shutil.chown(theirs, "nobody", "nogroup")
    path = theirs / "socket"
    as_nobody(f"import os, sys; path, given = sys.argv[1:]; {FOREIGN[kind]}", str(path), str(ours))
    before = path.lstat()
    with pytest.raises(ConfigError, match=f"^control: {path} is there and no socket$"):
        bind_control(path)
    with pytest.raises(ConfigError, match=f"^unix:{path}: Address already in use$"):
        open_sockets(parse_input(f"unix:{path}"), 1, 65536)
    assert os.path.samestat(before, path.lstat())
    assert (ours.read_text(), stat.S_IMODE(ours.stat().st_mode)) == ("of root", 0o600)


@pytest.mark.parametrize("mask", [0, 0o22, 0o77])
def test_files_of_sockets_have_their_mode_whatever_the_umask(folder, mask):
    before = os.umask(mask)
    try:
        opened = [*open_sockets(parse_input(f"unix:{folder / 'events'}"), 1, 65536), bind_control(folder / "control")]
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((folder / name).stat().st_mode) for name in ("events", "control")]
    assert modes == [0o660, 0o600]
    for one in opened:
        one.close()
