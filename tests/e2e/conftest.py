"""Programs around the bridge, each in the test's own folder and on free loopback ports, and the bridge itself."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

from tests.kafka.broker import free_ports

START_SECONDS = 20
STOP_SECONDS = 20
LOG_TAIL_BYTES = 4000
PACKAGES = {
    "kamailio": "kamailio kamailio-extra-modules",
    "sipp": "sip-tester",
    "chromium": "chromium",
    "chromedriver": "chromium-driver",
    "rsyslogd": "rsyslog rsyslog-kafka",
    "cc": "gcc",
    "systemd-analyze": "systemd",
    "systemd-nspawn": "systemd-container",
}


def path_of(name: str) -> str | None:
    """The path of a program, None where it is not; servers are in /usr/sbin, which not every user has in PATH."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin")


def require(*programs: str) -> None:
    """Skip the test when a program is not there."""
    if missing := [f"{name} (Debian: {PACKAGES[name]})" for name in programs if not path_of(name)]:
        pytest.skip(f"needs {' and '.join(missing)}")


def free_udp_ports(count: int) -> list[int]:
    """Choose `count` different loopback UDP ports on which nothing listens."""
    return free_ports(count, socket.SOCK_DGRAM)


class Program:
    """A program that runs in `folder` and writes what it prints to NAME.log there; a context manager that ends it."""

    def __init__(self, name: str, folder: Path, *command: str | Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=folder
            )

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def tail(self) -> str:
        """The end of what it printed."""
        return self.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")

    def wait(self, seconds: float) -> None:
        """Wait for its end; AssertionError with its log unless that is in time and with 0."""
        try:
            status: object = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            status = f"no end within {seconds} s"
        assert status == 0, f"{self.name}: {status}; the end of its log:\n{self.tail()}"

    def wait_until(self, ready: Callable[[], bool], seconds: float = START_SECONDS) -> None:
        """Wait until ready() is true; AssertionError with its log when it ends before or those seconds pass."""
        deadline = time.monotonic() + seconds
        while not ready():
            alive = self.process.poll() is None and time.monotonic() < deadline
            assert alive, f"{self.name} did not start; its log:\n{self.tail()}"
            time.sleep(0.02)


class RunningBridge(Program):
    """`pykafkaevt bridge` with its page on a port of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        command = (sys.executable, "-m", "pykafkaevt", "bridge", *arguments, "--http", f"127.0.0.1:{port}")
        super().__init__("bridge", folder, *command)

    def ready(self) -> bool:
        """Whether /readyz says 200."""
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:  # no listener yet, or 503 (urllib's HTTPError is one)
            return False

    def drain(self, seconds: float) -> None:
        """SIGTERM, and wait for the end; AssertionError unless it ends with 0: everything was acknowledged."""
        self.process.terminate()
        self.wait(seconds)


class BrowserPage:
    """A page in a browser: what it loaded, and what went wrong in it."""

    def __init__(self, browser: Chrome) -> None:
        self.browser = browser

    def resources(self) -> list[str]:
        """The addresses of all that the page has loaded."""
        script = "return performance.getEntriesByType('resource').map(entry => entry.name)"
        return list(self.browser.execute_script(script))

    def complaints(self) -> list[str]:
        """The errors in the browser's console so far."""
        return [entry["message"] for entry in self.browser.get_log("browser") if entry["level"] == "SEVERE"]


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chrome]:
    """Debian's Chromium."""
    require("chromium", "chromedriver")
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in ("--headless=new", "--window-size=1280,1400", "--disable-dev-shm-usage", "--no-first-run"):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={tmp_path / 'chromium'}")
    if os.geteuid() == 0:  # Chromium's sandbox refuses root
        options.add_argument("--no-sandbox")
    service = ChromeService(shutil.which("chromedriver"), log_output=str(tmp_path / "chromedriver.log"))
    browser = Chrome(options, service)
    try:
        yield browser
    finally:
        browser.quit()


@pytest.fixture
def bridge(tmp_path: Path) -> Iterator[Callable[..., RunningBridge]]:
    """bridge(*arguments): starts `pykafkaevt bridge` and waits until it is ready; it is ended after the test."""
    with ExitStack() as running:

        def start(*arguments: str) -> RunningBridge:
            own = RunningBridge(tmp_path, *arguments)
            running.enter_context(own)
            own.wait_until(own.ready)
            return own

        yield start
