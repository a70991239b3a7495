"""A real Apache Kafka 4 (KRaft, one node) on free loopback ports, from jars that Maven resolves.

`python -m tests.kafka.broker` starts one, prints its bootstrap address and stays until SIGINT or SIGTERM.
"""

import fcntl
import hashlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from string import Template
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

HERE = Path(__file__).resolve().parent
POM = HERE / "pom.xml"
LIBS = HERE / "libs"
CLUSTER_ID = "cHlrYWZrYWV2dC10ZXN0cw"  # any 16 bytes in URL-safe base64
START_SECONDS = 90
STOP_SECONDS = 30
LOG_TAIL_LINES = 40
# Below Linux's ephemeral range: a port of that range could be taken by a client's outgoing connection while
# the broker is away, or a client retrying it on loopback could even connect to itself.
PORTS = range(20000, 32000)


class BrokerError(Exception):
    """Kafka's jars could not be resolved, or the broker did not start or died."""


def missing_programs() -> list[str]:
    """The programs a broker needs that are not in PATH, each with Debian's package."""
    packages = {"java": "openjdk-17-jre-headless", "mvn": "maven"}
    return [f"{name} (Debian: {package})" for name, package in packages.items() if not shutil.which(name)]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on the file `path` among processes; the lock ends with its holder."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def resolve_jars() -> Path:
    """Give the folder with the jars of pom.xml; Maven fills it once for each content of pom.xml."""
    wanted = hashlib.sha256(POM.read_bytes()).hexdigest()
    stamp = LIBS / "pom.sha256"
    LIBS.mkdir(exist_ok=True)
    with locked(LIBS / "lock"):
        if not stamp.exists() or stamp.read_text() != wanted:
            for jar in LIBS.glob("*.jar"):
                jar.unlink()
            run(
                "resolving Kafka's jars",
                *("mvn", "-q", "-B", "-Dstyle.color=never", "-f", POM, "dependency:copy-dependencies"),
                *("-DincludeScope=runtime", f"-DoutputDirectory={LIBS}"),
            )
            stamp.write_text(wanted)
    return LIBS


def run(doing: str, *command: str | Path) -> None:
    """Run a program to its end; BrokerError with what it printed when it fails."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BrokerError(f"{doing}: {command[0]} ended with {done.returncode}:\n{done.stdout}")


def java(heap: str, main: str, *arguments: str | Path, options: Sequence[str] = ()) -> list[str | Path]:
    """The command that runs a class of Kafka's jars; slf4j-simple writes its log to standard error."""
    return [
        *("java", f"-Xmx{heap}", "-cp", f"{resolve_jars()}/*"),
        *(
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
        ),
        *(*options, main, *arguments),
    ]


def free_ports(count: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> list[int]:
    """Choose `count` different loopback ports of PORTS, of TCP or of UDP (SOCK_DGRAM), on which nothing listens."""
    ports: list[int] = []
    with ExitStack() as held:
        for port in random.sample(PORTS, len(PORTS)):
            probe = held.enter_context(socket.socket(type=kind))
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
            if len(ports) == count:
                return ports
    raise BrokerError(f"no {count} free ports in {PORTS}")


def filled_in(name: str, **values: object) -> str:
    """A file of this folder with a value for each ${name} in it."""
    return Template((HERE / name).read_text()).substitute(values)


class KafkaBroker:
    """One broker with storage and ports of its own; a context manager that starts it and removes everything.

    stop() and start() between keep ports and storage, as a broker that goes away and comes back.
    folder: where configuration, storage and log are kept; None for a temporary one, removed by close().
    A subclass may have more settings, arguments for formatting the storage, and options of Java.
    """

    format_arguments: Sequence[str] = ()
    java_options: Sequence[str] = ()

    def __init__(self, folder: Path | None = None) -> None:
        self.temporary = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="pykafkaevt-kafka-"))
        self.port, self.controller_port = free_ports(2)
        self.bootstrap_servers = f"127.0.0.1:{self.port}"
        self.log = self.folder / "broker.log"
        self.config = self.folder / "server.properties"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "KafkaBroker":
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def running(self) -> bool:
        """Whether the broker's process lives."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start the broker and wait until it answers; nothing to do when it runs.

        Raises BrokerError with the end of the broker's log when it dies or gives no answer in START_SECONDS.
        """
        if self.running:
            return
        if not self.config.exists():
            self.format()
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C reaches the tests only, and they stop the broker by this handle.
            self.process = subprocess.Popen(
                java("1g", "kafka.Kafka", self.config, options=self.java_options),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                start_new_session=True,
            )
        try:
            self.wait_until_it_answers()
        except BaseException:
            self.stop()
            raise

    def format(self) -> None:
        """Write the configuration and format the storage."""
        unfinished = self.config.with_suffix(".new")
        unfinished.write_text(self.settings())
        format_storage = ("format", "--cluster-id", CLUSTER_ID, "--config", unfinished, *self.format_arguments)
        run("formatting Kafka's storage", *java("256m", "kafka.tools.StorageTool", *format_storage))
        unfinished.rename(self.config)

    def settings(self) -> str:
        """The text of the configuration; of two values for one setting the later counts."""
        return filled_in(
            "server.properties", port=self.port, controller_port=self.controller_port, data=self.folder / "data"
        )

    def wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        # log_level 0: refused connections are no news while the broker starts.
        admin = AdminClient(
            {
                "bootstrap.servers": self.bootstrap_servers,
                "log_level": 0,
                "reconnect.backoff.ms": 20,
                "reconnect.backoff.max.ms": 200,
            }
        )
        while True:
            if not self.running:
                raise self.error("Kafka died while it started")
            try:
                if admin.list_topics(timeout=0.5).brokers:
                    return
            except KafkaException:
                if time.monotonic() > deadline:
                    raise self.error(f"Kafka gave no answer within {START_SECONDS} s") from None

    def error(self, what: str) -> BrokerError:
        tail = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return BrokerError("\n".join([f"{what}; the end of {self.log}:", *tail]))

    def stop(self) -> None:
        """End the broker: SIGTERM, and SIGKILL after STOP_SECONDS. Storage and ports stay for start()."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def close(self) -> None:
        """Stop the broker and remove its temporary folder."""
        self.stop()
        if self.temporary:
            shutil.rmtree(self.folder, ignore_errors=True)


def main() -> None:
    """Run one broker in the foreground."""
    if missing := missing_programs():
        sys.exit(f"a Kafka broker needs {' and '.join(missing)}")

    def end(*_: Any) -> None:
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    try:
        with KafkaBroker() as broker:
            print(broker.bootstrap_servers, flush=True)
            print(f"log: {broker.log}", file=sys.stderr, flush=True)
            assert broker.process
            broker.process.wait()
            raise broker.error("Kafka died")
    except BrokerError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
