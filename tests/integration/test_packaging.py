"""What is published: from the source distribution a wheel is built that works, and holds what it needs."""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "ext" / "pykafkaevt"
MODULES = sorted(
    ".".join(("pykafkaevt", *path.relative_to(SOURCES).with_suffix("").parts)) for path in SOURCES.rglob("*.pyx")
)
NEEDED = ["Cython", "setuptools"]


def backend(call, folder, target, environment=None):
    """Call setuptools' PEP 517 backend in a folder, as `pip install` does; the path of what it made."""
    code = f"import setuptools.build_meta as backend; print(backend.{call}({str(target)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return target / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def source_distribution(tmp_path_factory):
    """Made of a copy, for the backend writes beside the sources."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        pytest.skip(f"python: without {' and '.join(missing)}")
    copy = tmp_path_factory.mktemp("repository")
    for name in ("ext", "pykafkaevt"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for name in ("LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "setup.py"):
        shutil.copy(ROOT / name, copy / name)
    return backend("build_sdist", copy, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(source_distribution, tmp_path_factory):
    """Built from the source distribution alone, without optimization."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(source_distribution) as archive:
        archive.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    (unpacked,) = folder.iterdir()
    compiler = folder / "cc"
    command = shlex.join(shlex.split(sysconfig.get_config_var("CC") or "cc"))
    compiler.write_text(f'#!/bin/sh\nexec {command} "$@" -O0\n')
    compiler.chmod(0o755)
    environment = {**os.environ, "CC": str(compiler)}
    return backend("build_wheel", unpacked, tmp_path_factory.mktemp("wheel"), environment)


def package_files(*patterns):
    """The files of the package in the repository, as a wheel names them."""
    return {str(path.relative_to(ROOT)) for pattern in patterns for path in (ROOT / "pykafkaevt").rglob(pattern)}


def test_the_source_distribution_holds_all_sources_and_nothing_made_of_them(source_distribution):
    with tarfile.open(source_distribution) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    sources = {
        str(path.relative_to(ROOT)) for suffix in ("pyx", "pxd", "h", "pxi") for path in SOURCES.rglob(f"*.{suffix}")
    }
    assert sources <= names
    assert package_files("*.py", "*.pyi", "py.typed", "page/*", "*.pcap") <= names
    assert not [name for name in names if name.endswith((".c", ".so", ".o", ".pyc"))]


def test_the_wheel_holds_the_package_and_no_sources(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert package_files("*.py", "*.pyi", "py.typed", "page/*", "*.pcap") <= names
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    assert {f"{module.replace('.', '/')}{suffix}" for module in MODULES} <= names
    assert not [name for name in names if name.endswith((".c", ".h", ".pyx", ".pxd"))]


def test_what_the_wheel_installs_works(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        "import importlib, sys, pykafkaevt\n"
        "for name in sys.argv[2:]: assert importlib.import_module(name).__file__.startswith(sys.argv[1]), name\n"
        "with pykafkaevt.Producer('kafka:embedded/t') as producer: producer.publish(b'v')\n"
        "assert producer.stats().delivered == 1\n"
    )
    # an editable installation in the same interpreter must not answer
    command = [sys.executable, "-c", code, str(tmp_path), *MODULES]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
