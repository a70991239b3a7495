"""deploy/pykafkaevt-bridge.service as it is, under a systemd that is booted for it."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.e2e.booted import INTERPRETER, Systemd
from tests.e2e.conftest import require

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT = DEPLOY / "pykafkaevt-bridge.service"
EVENT = '{"jsonrpc":"2.0","method":"E_TEST","params":{"callid":"a@b"}}'
BASIC = {"input": ["udp://127.0.0.1:5050"], "to": "kafka:embedded/sip", "control": "/run/pykafkaevt/control.sock"}
CREDENTIALS = "/run/credentials/pykafkaevt-bridge.service"
TOKEN, PASSWORD = "a-token-for-http-0123", "sesame-for-kafka"
WITH_CREDENTIALS = BASIC | {
    "http": "127.0.0.1:9464",
    "http_token": f"{CREDENTIALS}/http-token",
    "dead_letter": "kafka:127.0.0.1:9/dead?g.security.protocol=sasl_plaintext&g.sasl.mechanism=PLAIN"
    f"&g.sasl.username=u&g.sasl.password=@file:{CREDENTIALS}/kafka-password",
}
SEND = (
    "import socket; to = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); "
    f'to.sendto(b"""{EVENT}""", "/run/pykafkaevt/events.sock")'
)
BY_HTTP = ("pykafkaevt", "ctl", "--http", "http://127.0.0.1:9464")


class Service:
    """The unit in a booted systemd."""

    def __init__(self, systemd: Systemd) -> None:
        self.systemd = systemd
        self.run = systemd.run

    def configure(self, options: dict[str, Any], *drop_ins: str) -> None:
        """Install it with that configuration and the texts of drop-ins."""
        # JSON's texts, numbers and arrays are TOML's too
        toml = "".join(f"{name} = {orjson.dumps(value).decode()}\n" for name, value in options.items())
        self.systemd.write("/etc/pykafkaevt/bridge.toml", toml)
        self.systemd.write(f"/etc/systemd/system/{UNIT.name}", UNIT.read_text())
        self.run("rm", "-rf", f"/etc/systemd/system/{UNIT.name}.d")
        for number, text in enumerate(drop_ins):
            self.systemd.write(f"/etc/systemd/system/{UNIT.name}.d/{number}.conf", text)
        self.run("systemctl", "daemon-reload")

    def start(self, options: dict[str, Any], *drop_ins: str) -> None:
        """Start it; back when it has told systemd that it is ready."""
        self.configure(options, *drop_ins)
        self.run("systemctl", "start", UNIT.name)

    def shown(self, name: str) -> str:
        """A property of systemd's."""
        return self.run("systemctl", "show", "--value", "--property", name, UNIT.name)

    def status(self, *names: str) -> list[str]:
        """Lines of its process's /proc/PID/status."""
        lines = dict(
            line.split(":\t", 1) for line in self.run("cat", f"/proc/{self.shown('MainPID')}/status").split("\n")
        )
        return [lines[name] for name in names]

    def counts(self) -> dict[str, int]:
        """What its default target has counted."""
        stats = orjson.loads(self.run("pykafkaevt", "ctl", "kafka_stats"))
        return next(one for one in stats["targets"] if one["socket"] == "kafka:embedded/sip")

    def delivers(self, send: str, sender: str = "root") -> None:
        """Have a user's shell send an event, and wait until it is acknowledged."""
        before = self.counts()["delivered"]
        self.run("setpriv", "--reuid", sender, "--regid", sender, "--clear-groups", "bash", "-c", send)
        self.systemd.wait_until(lambda: self.counts()["delivered"] == before + 1)


@pytest.fixture(scope="module")
def systemd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Systemd]:
    require("systemd-nspawn", "systemd-analyze")
    if os.geteuid() or subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("platform: no container can be made here, which root could elsewhere")
    with Systemd(tmp_path_factory.mktemp("systemd")) as own:
        yield own


@pytest.fixture
def service(systemd: Systemd) -> Iterator[Service]:
    yield Service(systemd)
    systemd.run("systemctl", "stop", UNIT.name)
    systemd.run("systemctl", "reset-failed", UNIT.name, check=False)


def test_the_score_of_systemd_analyze_is_at_most_2() -> None:
    require("systemd-analyze")
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=20", UNIT],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(rf"Overall exposure level for {UNIT.name}: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) <= 2.0, done.stdout
    assert done.returncode == 0


def test_systemd_finds_no_mistake_in_it(service: Service) -> None:
    service.configure(BASIC)
    assert service.run("systemd-analyze", "verify", f"/etc/systemd/system/{UNIT.name}") == ""


def test_it_receives_and_delivers_without_any_right(service: Service) -> None:
    service.start(BASIC)
    service.delivers(f"echo -n '{EVENT}' >/dev/udp/127.0.0.1/5050")
    user, bounding, effective, no_new, seccomp = service.status("Uid", "CapBnd", "CapEff", "NoNewPrivs", "Seccomp")
    assert 61184 <= int(user.split()[0]) <= 65519  # the range of DynamicUser=
    assert int(bounding, 16) == int(effective, 16) == 0
    assert (no_new, seccomp) == ("1", "2")
    assert service.shown("WatchdogUSec") == "30s"
    limits = service.run("cat", f"/proc/{service.shown('MainPID')}/limits")
    assert re.search("^Max core file size +0 +0 ", limits, re.MULTILINE)


REACHED_BY_IT = {
    "cat /etc/pykafkaevt/bridge.toml": True,
    "touch /run/pykafkaevt/x": True,
    "touch /var/lib/pykafkaevt/x": True,
    "touch /tmp/x": True,
    "cat /tmp/of-another-service": False,
    "cat /etc/pykafkaevt/secret": False,
    "ls /home": False,
    "cat /proc/1/status": False,
    "cat /proc/meminfo": False,
}
REACHED_BY_ROOT_IN_ITS_PLACE = {
    "touch /run/pykafkaevt/x": True,
    "touch /etc/x": False,
    "touch /usr/x": False,
    "touch /var/x": False,
    "ls /home/x": False,
    "cat /tmp/of-another-service": False,
    "ls /dev/kmsg": False,
    "ls /proc/sys": False,
}


def test_what_it_can_reach(service: Service) -> None:
    service.systemd.write("/etc/pykafkaevt/secret", "", 0o600)
    service.systemd.write("/tmp/of-another-service", "")
    service.systemd.write("/home/x", "")
    service.start(BASIC)
    for user, tried in ((service.status("Uid")[0].split()[0], REACHED_BY_IT), ("0", REACHED_BY_ROOT_IN_ITS_PLACE)):
        script = "; ".join(f"{command} >/dev/null 2>&1; echo $?" for command in tried)
        namespace = ("nsenter", "--mount", f"--target={service.shown('MainPID')}", "--setuid", user, "--setgid", user)
        reached = [code == "0" for code in service.run(*namespace, "sh", "-c", script).split()]
        assert dict(zip(tried, reached, strict=True)) == tried


def test_credentials_reach_it_and_nobody_else(service: Service) -> None:
    service.systemd.write("/etc/pykafkaevt/http-token", f"{TOKEN}\n", 0o600)
    service.systemd.write("/etc/pykafkaevt/kafka-password", f"{PASSWORD}\n", 0o600)
    service.start(WITH_CREDENTIALS, (DEPLOY / "drop-ins" / "credentials.conf").read_text())
    assert "Forbidden" in service.run(*BY_HTTP, "reload", check=False)
    assert service.run(*BY_HTTP, "--http-token", "/etc/pykafkaevt/http-token", "reload") == '"OK"'
    read = ("setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "cat", f"{CREDENTIALS}/http-token")
    assert "Permission denied" in service.run(*read, check=False)
    journal = service.run("journalctl", "--unit", UNIT.name)
    assert "reloaded" in journal
    assert TOKEN not in journal
    assert PASSWORD not in journal


def test_without_them_it_says_what_is_missing_and_is_not_started_again(service: Service) -> None:
    service.configure(WITH_CREDENTIALS)
    service.run("systemctl", "start", UNIT.name, check=False)
    service.systemd.wait_until(lambda: service.shown("ActiveState") == "failed")
    assert (service.shown("ExecMainStatus"), service.shown("NRestarts")) == ("2", "0")
    journal = service.run("journalctl", "--unit", UNIT.name, "--lines", "20")
    assert f"Error: dead_letter: g.sasl.password: '{CREDENTIALS}/kafka-password': " in journal


def test_a_unix_input_is_for_the_group_of_the_drop_in(service: Service) -> None:
    service.run("groupadd", "--system", "opensips")
    for user in ("opensips", "pykafkaevt"):
        service.run("useradd", "--system", "--gid", "opensips", user)
    send = f"{INTERPRETER} -c '{SEND}'"
    service.start(
        BASIC | {"input": ["unix:/run/pykafkaevt/events.sock"]}, (DEPLOY / "drop-ins" / "sender-group.conf").read_text()
    )
    service.delivers(send, "opensips")
    as_another = ("setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "bash", "-c", send)
    assert "PermissionError" in service.run(*as_another, check=False)


def test_a_reload_keeps_the_process_and_a_stop_is_clean(service: Service) -> None:
    service.start(BASIC)
    process = service.shown("MainPID")
    service.run("systemctl", "reload", UNIT.name)
    service.systemd.wait_until(lambda: "reloaded" in service.run("journalctl", f"_PID={process}"))
    assert service.shown("MainPID") == process
    service.run("systemctl", "stop", UNIT.name)
    assert (service.shown("Result"), service.shown("ExecMainStatus")) == ("success", "0")
    assert not (service.systemd.root / "run/pykafkaevt").exists()


def test_one_that_hangs_is_started_again(service: Service) -> None:
    service.start(BASIC, "[Service]\nWatchdogSec=3\n")
    process = service.shown("MainPID")
    service.run("systemctl", "kill", "--signal=STOP", UNIT.name)
    service.systemd.wait_until(
        lambda: service.shown("NRestarts") == "1" and service.shown("ActiveState") == "active", 60
    )
    assert service.shown("MainPID") != process
