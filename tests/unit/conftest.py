"""What several unit tests use."""

import json
import os
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from pykafkaevt import Producer

PROGRAMS = Path(__file__).parent / "kernel"
HEADERS = PROGRAMS.parents[2] / "ext" / "pykafkaevt"
FLAGS = [
    *("-std=c11", "-D_GNU_SOURCE", "-O3", "-Wall", "-Wextra", "-Werror", "-pthread"),
    *(f"-I{room}" for room in sorted(HEADERS.iterdir()) if room.is_dir()),
    *("-isystem", sysconfig.get_path("include")),
]


@pytest.fixture(scope="session")
def compile_c(tmp_path_factory):
    """compile_c(source, *options): the path of the program or library made from a file of kernel/."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    if not shutil.which(compiler[0]):
        pytest.skip(f"no C compiler {compiler[0]}")

    def compiled(source, *options):
        target = tmp_path_factory.mktemp("kernel") / source
        subprocess.run([*compiler, *FLAGS, *options, str(PROGRAMS / f"{source}.c"), "-o", str(target)], check=True)
        return target

    return compiled


# Of the bridge

PROMPT = "g.linger.ms=0&g.enable.idempotence=false"


@pytest.fixture
def producers(kafka_embedded):
    """producer(topic): a Producer on the embedded broker."""
    made = {}

    def producer(topic, properties=PROMPT):
        if topic not in made:
            made[topic] = Producer(f"kafka:{kafka_embedded.bootstrap_servers}/{topic}?{properties}")
        return made[topic]

    yield producer
    for one in made.values():
        one.close()


@pytest.fixture
def stored(kafka_embedded, consume):
    """stored(topic, count): (key, value) of the records of a topic."""

    def read(topic, count):
        return [(message.key(), message.value()) for message in consume(kafka_embedded.bootstrap_servers, topic, count)]

    return read


def event(name, **params):
    """A JSON-RPC notification."""
    return json.dumps({"jsonrpc": "2.0", "method": name, "params": params}).encode()
