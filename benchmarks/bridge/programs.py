"""The programs of a measurement: how they are built, started, asked and ended, and the CPU they used."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
BUILD = HERE / "build"
FLAGS = ["-std=c11", "-D_GNU_SOURCE", "-O3", "-Wall", "-Wextra", "-Werror"]
# the command, with its threads named for those who look at them
BRIDGE = [
    sys.executable,
    "-c",
    "from pykafkaevt.bench.threads import name_threads; from pykafkaevt.cli import main; name_threads(); main()",
    "bridge",
]
PATIENCE = 60.0  # seconds for a program to get ready, to acknowledge the rest, to end
TICKS = os.sysconf("SC_CLK_TCK")


class Cpu(NamedTuple):
    """CPU seconds of a process in user mode and in the kernel."""

    user: float
    system: float

    @property
    def seconds(self):
        return self.user + self.system

    def since(self, before):
        return Cpu(self.user - before.user, self.system - before.system)


def cpu_of(pid):
    """What a process has used so far; also when it has ended, until it is waited for."""
    # the name, in brackets, may hold anything
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return Cpu(int(fields[11]) / TICKS, int(fields[12]) / TICKS)


def build():
    BUILD.mkdir(exist_ok=True)
    for name in ("sender", "receiver"):
        compiler = shlex.split(os.environ.get("CC") or "cc")
        subprocess.run([*compiler, *FLAGS, str(HERE / f"{name}.c"), "-o", str(BUILD / name), "-lm"], check=True)


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def send(port, kind, load):
    """Run the sender to its end; gives its line of JSON."""
    command = [str(BUILD / "sender"), str(port), kind, *map(str, load)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@contextmanager
def running(command, **options):
    """A program that is ended, with SIGTERM at first, when the block is left."""
    process = subprocess.Popen([str(part) for part in command], **options)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()


def call(control, method):
    """The result of a JSON-RPC call on the bridge's control socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(str(control))
        connection.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method}).encode() + b"\n")
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
            if answer.endswith(b"\n"):
                break
        return json.loads(answer)["result"]


def wait_until_ready(process, control):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            stats = call(control, "kafka_stats")
            if stats["ready"] and all(target["up"] for target in stats["targets"]):
                return
        except OSError:  # not there yet
            pass
        time.sleep(0.1)
    raise SystemExit("the bridge did not get ready")


def markdown(heads, rows):
    """A table for a document."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows))
