"""`python -m tests.races.cell ACTION HAPPENING SECONDS SEED`: one cell of the table, alone.

Runs the broker, and in a process of its own what acts on a client; ends with 1 and the reasons when that crashes,
hangs, raises what it should not, or when calls, counters, reports and what the topic holds do not agree.
"""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection, Listener
from pathlib import Path

from pykafkaevt import EmbeddedBroker
from tests.races.happenings import HAPPENINGS, PLUGIN
from tests.races.ledger import PARTITIONS, TOPIC, Account, mistakes, read_topic

SOURCE = Path(__file__).with_name("unusable.c")
BEYOND_SECONDS = 90  # after its time; the actor notices its own hanging sooner
STDERR_HEAD, STDERR_TAIL = 1000, 6000


def compile_plugin(folder: Path) -> Path:
    """unusable.c as a library."""
    target = folder / "unusable.so"
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    subprocess.run([*compiler, "-shared", "-fPIC", "-o", str(target), str(SOURCE)], check=True)
    return target


@contextlib.contextmanager
def controlled(broker: EmbeddedBroker, folder: Path) -> Iterator[str]:
    """The address at which another process calls the broker's methods."""
    address = str(folder / "control")
    with Listener(address, "AF_UNIX") as listener:

        def serve(connection: Connection) -> None:
            with connection, contextlib.suppress(EOFError, ConnectionError):
                while True:
                    method, arguments = connection.recv()
                    getattr(broker, method)(*arguments)
                    connection.send(None)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=(listener.accept(),), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield address


def run_actor(names: list[str], seconds: float, seed: int, folder: Path, environment: dict[str, str]) -> list[str]:
    """Run the actor to its end; what is wrong with how it ended."""
    log = folder / "stderr"
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.races.actor", *names, str(seconds), str(seed)]
    with log.open("ab") as stderr:
        actor = subprocess.Popen(command, env=environment, stderr=stderr, start_new_session=True)
    status: int | str
    try:
        status = actor.wait(seconds + BEYOND_SECONDS)
    except subprocess.TimeoutExpired:
        status = "no end"
        actor.send_signal(signal.SIGABRT)  # faulthandler says where each thread stands
        time.sleep(1)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(actor.pid, signal.SIGKILL)
        actor.wait()
    return [] if status == 0 else [f"the process ended with {status}:\n{shortened(log)}"]


def shortened(log: Path) -> str:
    """Its beginning and its end."""
    text = log.read_text(errors="replace")
    if len(text) > STDERR_HEAD + STDERR_TAIL:
        return f"{text[:STDERR_HEAD]}\n…\n{text[-STDERR_TAIL:]}"
    return text


def run(names: list[str], seconds: float, seed: int) -> list[str]:
    """One cell; what is wrong."""
    with (
        tempfile.TemporaryDirectory(prefix="races-") as name,
        EmbeddedBroker(topics={TOPIC: PARTITIONS}) as broker,
        controlled(broker, Path(name)) as address,
    ):
        folder = Path(name)
        accounts = folder / "accounts"
        accounts.touch()
        environment = {
            **os.environ,
            "RACES_ACCOUNTS": str(accounts),
            "RACES_BOOTSTRAP": broker.bootstrap_servers,
            "RACES_CONTROL": address,
            "RACES_PLUGIN": str(compile_plugin(folder)) if HAPPENINGS[names[1]].properties == PLUGIN else "",
            "RACES_UNUSABLE": str(folder / "unusable"),
            "PYTHONFAULTHANDLER": "1",
        }
        if wrong := run_actor(names, seconds, seed, folder, environment):
            return wrong
        told = [Account(**json.loads(line)) for line in accounts.read_text().splitlines()]
        wrong = judge(told, read_topic(broker.bootstrap_servers))
        return [*wrong, shortened(folder / "stderr")] if wrong else []


def judge(told: list[Account], stored: Counter[str]) -> list[str]:
    """What is wrong with the accounts of a cell."""
    if not told:
        return ["the process told no account"]
    found = [wrong for account in told for wrong in mistakes(account, stored)]
    known = {value for account in told for value in account.sent + account.accepted}
    if strange := stored.keys() - known:
        found.append(f"{len(strange)} records come from nowhere, as {sorted(strange)[:3]}")
    return found


def main() -> int:
    """See above."""
    *names, seconds, seed = sys.argv[1:]
    found = run(names, float(seconds), int(seed))
    for wrong in found:
        print(wrong, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
