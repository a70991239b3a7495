"""Finding and loading librdkafka: the order, and what is said when there is none."""

import os
import subprocess
import sys

import confluent_kafka
import pytest

from pykafkaevt.kafka import library


def load(path):
    """What importing pykafkaevt says with this PYKAFKAEVT_LIBRDKAFKA."""
    script = "import pykafkaevt.kafka.library as l; print(l.library_path(), l.library_version())"
    return subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYKAFKAEVT_LIBRDKAFKA": str(path), "LC_ALL": "C"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def compiled(folder, text):
    source, library = folder / "library.c", folder / "library.so"
    source.write_text(text)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    return library


def test_the_wheels_library_is_the_one_loaded():
    assert "confluent_kafka" in library.library_path()
    assert library.library_version() == confluent_kafka.libversion()[0]


def test_it_is_found_without_importing_confluent_kafka():
    script = "import sys, pykafkaevt; print('confluent_kafka' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"


def test_the_environment_comes_first(tmp_path):
    link = tmp_path / "chosen.so"
    link.symlink_to(library.library_path())
    done = load(link)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1] == library.library_version()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "cannot open shared object file"),
        ("int nothing;", "has no symbol rd_kafka_version"),
        ("int rd_kafka_version(void) { return 0x02080000; }", "has no symbol rd_kafka_version_str"),
    ],
)
def test_what_was_tried_and_why_it_failed_is_named(tmp_path, text, reason):
    path = tmp_path / "missing.so" if text is None else compiled(tmp_path, text)
    done = load(path)
    assert done.returncode == 1
    assert "ImportError: pykafkaevt found no librdkafka it can use" in done.stderr
    assert f"{path}: " in done.stderr
    assert reason in done.stderr


@pytest.mark.parametrize(("code", "name"), [(0, "NO_ERROR"), (-184, "_QUEUE_FULL"), (10, "MSG_SIZE_TOO_LARGE")])
def test_error_codes_have_librdkafkas_names(code, name):
    assert library.error_name(code) == name
    assert library.error_text(code)
