"""Peers that are programs of their own: C, Go and Java. Each prints what it measured.

Programs of benchmarks/peers/build (or of $PYKAFKAEVT_PEERS) print one line of JSON: {"records", "seconds",
"cpu_us_per_record", "latency_us": {"p50", "p90", "p99", "p99.9", "max"}, "failed", "rss_kb"}, and maybe
"cpu_us_by_thread". Kafka's own tool is in the jars of the tests' broker, or of $PYKAFKAEVT_KAFKA_LIBS.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
from pathlib import Path
from typing import Any

from pykafkaevt.bench.schedule import QUANTILES
from pykafkaevt.bench.side import Spec
from pykafkaevt.bench.workload import KEY_SIZE, VALUE_SIZE
from pykafkaevt.sockets import KafkaSocket, is_secret

NAMES = ("c", "java", "franz-go")
ROOT = Path(__file__).parents[2]
# "5000 records sent, 1234.5 records/sec (0.12 MB/sec), 3.10 ms avg latency, 99.00 ms max latency, 3 ms 50th, …"
JAVA_LINE = re.compile(
    r"(\d+) records sent, ([\d.,]+) records/sec.* ([\d.,]+) ms max latency, "
    r"(\d+) ms 50th, (\d+) ms 95th, (\d+) ms 99th, (\d+) ms 99\.9th"
)


def program(name: str) -> Path:
    """Where a program of ours would be."""
    return Path(os.environ.get("PYKAFKAEVT_PEERS") or ROOT / "benchmarks" / "peers" / "build") / name


def kafka_libs() -> Path:
    """Where the jars of Kafka would be."""
    return Path(os.environ.get("PYKAFKAEVT_KAFKA_LIBS") or ROOT / "tests" / "kafka" / "libs")


def how_to_get(name: str) -> str | None:
    """What is missing for a program and how to get it; None when it is here."""
    if name == "java":
        return how_to_get_java()
    if os.access(program(name), os.X_OK):
        return None
    if in_sources():
        needs_go = name == "franz-go" and shutil.which("go") is None
        return f"no {program(name)}: {'install Go (Debian: golang-go), then ' if needs_go else ''}make peers"
    return (
        f"no {program(name)}: the installed package has no sources of it; run make peers in a copy of pykafkaevt's "
        "sources, and set PYKAFKAEVT_PEERS to benchmarks/peers/build there"
    )


def how_to_get_java() -> str | None:
    """As how_to_get, for Kafka's own tool."""
    if shutil.which("java") is None:
        return "no java in PATH (Debian: default-jre-headless)"
    if any(kafka_libs().glob("kafka-tools-*.jar")):
        return None
    if in_sources():
        return f"no Kafka in {kafka_libs()}: python -m tests.kafka.broker gets it"
    return "no Kafka: set PYKAFKAEVT_KAFKA_LIBS to the folder libs of an unpacked Apache Kafka"


def in_sources() -> bool:
    """Whether this is a copy of the sources, with what peers are made of."""
    return (ROOT / "benchmarks" / "peers" / "build.sh").exists()


def version_of(name: str) -> str | None:
    """The version of what a program is made of; None when it is the librdkafka that we load, or cannot be told."""
    if name == "java":
        jars = [re.fullmatch(r"kafka-tools-([\d.]+)\.jar", jar.name) for jar in kafka_libs().glob("kafka-tools-*.jar")]
        return next((jar[1] for jar in jars if jar), None)
    modules = ROOT / "benchmarks" / "peers" / name / "go.mod"
    found = re.search(r"github\.com/twmb/franz-go (v[\d.]+)", modules.read_text()) if modules.exists() else None
    return found[1] if found else None


def why_absent(name: str, spec: Spec) -> str | None:
    """Why a program cannot run here, None when it can."""
    reason = how_to_get(name)
    if reason is None and name != "c" and KafkaSocket(spec["socket"]).brokers == ("embedded",):
        reason = "needs a real broker: the embedded one is librdkafka's mock"
    if reason is None and (spec["records"] is None or spec["payload_file"] is not None):
        reason = "needs --num-records, and sends no --payload-file"
    # a value with an '@' is read from elsewhere, or written for that to be told apart
    if reason is None and any(is_secret(name) or value.startswith("@") for name, value in spec["settings"].items()):
        reason = "the socket has secrets, and its command line would show them"
    return reason


def run(name: str, spec: Spec) -> dict[str, Any]:
    """Run it; the fields of Measured. Raises RuntimeError with its last words."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = java_command(spec) if name == "java" else peer_command(name, spec)
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = ended.stdout.strip().splitlines()
    if ended.returncode or not lines:
        said = (ended.stderr.strip() or ended.stdout.strip() or f"exit code {ended.returncode}").splitlines()
        raise RuntimeError(f"{name}: {said[-1]}")
    size = (spec["record_size"] or VALUE_SIZE) + (0 if name == "java" or spec["record_size"] else KEY_SIZE)
    if name == "java":
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return {**java_result(lines[-1], cpu), "cpu_by_thread": {}, "rss_kb": None, "mean_size": size, "series": []}
    try:
        said_json = json.loads(lines[-1])
        records = said_json["records"]
        by_thread = said_json.get("cpu_us_by_thread", {})
        return {
            "delivered": records - said_json["failed"],
            "failed": said_json["failed"],
            "seconds": said_json["seconds"],
            "cpu_seconds": said_json["cpu_us_per_record"] * records / 1e6,
            "cpu_by_thread": {thread: us * records / 1e6 for thread, us in by_thread.items()},
            "latency_us": {quantile: said_json["latency_us"].get(quantile) for quantile in QUANTILES},
            "rss_kb": said_json["rss_kb"],
            "mean_size": size,
            "series": [],
        }
    except (ValueError, KeyError, TypeError) as error:
        raise RuntimeError(f"{name}: {error!r} in its result: {lines[-1][:200]}") from error


def peer_command(name: str, spec: Spec) -> list[str]:
    """The command line of one of our programs."""
    from pykafkaevt.kafka.library import library_path  # noqa: PLC0415

    socket = KafkaSocket(spec["socket"])
    settings = dict(spec["settings"])
    options = {
        "bootstrap": socket.bootstrap_servers,
        "topic": socket.topic,
        "records": spec["records"],
        "size": spec["record_size"] or VALUE_SIZE,
        "key-size": 0 if spec["record_size"] else KEY_SIZE,
        "linger-ms": settings.pop("linger.ms"),
        "acks": settings.pop("acks"),
        "mode": "batch" if spec["api"].endswith("_many") else "single",
        "batch": spec["batch"],
    }
    if spec["throughput"] is not None:
        options["throughput"] = f"{spec['throughput']:g}" if spec["throughput"] % 1 else int(spec["throughput"])
    if name == "c":
        options["librdkafka"] = library_path()
    command = [str(program(name)), *(text for key, value in options.items() for text in (f"--{key}", str(value)))]
    return [*command, "--config", *(f"{key}={value}" for key, value in settings.items())]


def java_command(spec: Spec) -> list[str]:
    """The command line of Kafka's own producer performance tool."""
    socket = KafkaSocket(spec["socket"])
    settings = spec["settings"]
    names = ("acks", "compression.type", "enable.idempotence")
    properties = {
        "bootstrap.servers": socket.bootstrap_servers,
        "linger.ms": int(float(settings["linger.ms"])),
        "buffer.memory": int(settings["queue.buffering.max.kbytes"]) * 1024,
        **{name: settings[name] for name in names},
    }
    return [
        *("java", "-cp", f"{kafka_libs()}/*", "org.apache.kafka.tools.ProducerPerformance"),
        *("--topic", socket.topic, "--num-records", str(spec["records"])),
        *("--record-size", str(spec["record_size"] or VALUE_SIZE)),
        *("--throughput", f"{spec['throughput']:.0f}" if spec["throughput"] else "-1"),
        *("--producer-props", *(f"{name}={value}" for name, value in properties.items())),
    ]


def java_result(line: str, cpu_seconds: float) -> dict[str, Any]:
    """What its last line says; it knows no p90, and the CPU is that of the whole JVM, its start included."""
    found = JAVA_LINE.match(line)
    if found is None:
        raise RuntimeError(f"java: {line}")
    records, rate, longest, p50, _, p99, p999 = (float(text.replace(",", ".")) for text in found.groups())
    latency = {"p50": p50, "p90": None, "p99": p99, "p99.9": p999, "max": longest}
    return {
        "delivered": int(records),
        "failed": 0,
        "seconds": records / rate,
        "cpu_seconds": cpu_seconds,
        "latency_us": {name: None if ms is None else int(ms * 1000) for name, ms in latency.items()},
    }
