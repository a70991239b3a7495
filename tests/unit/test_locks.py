"""requirements/ locks all that pyproject.toml asks for, by hashes; .ci/audit.py says what is known about it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
LOCKED = {path.stem: path.read_text() for path in sorted((ROOT / "requirements").glob("*.txt"))}
PIN = re.compile(r"^([a-z0-9-]+)==(\S+)(?: ; (.+?))? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE)


def pins(name):
    """Versions by package of a file, for this platform and Python."""
    return {
        package: version
        for package, version, marker, _ in PIN.findall(LOCKED[name])
        if not marker or Requirement(f"{package}; {marker}").marker.evaluate()
    }


def of_extra(name):
    """The requirements of an extra and of the extras in it, the package's own dependencies besides."""
    for text in [*EXTRAS[name], *PROJECT["project"]["dependencies"]]:
        requirement = Requirement(text)
        if requirement.name == "pykafkaevt":
            for extra in requirement.extras:
                yield from of_extra(extra)
        elif not requirement.marker or requirement.marker.evaluate():
            yield requirement


WANTED = {
    "build": [Requirement(text) for text in PROJECT["build-system"]["requires"]],
    "dev": list(of_extra("dev")),
    "lock": [Requirement(text) for text in EXTRAS["lock"]],
}


def test_each_file_is_for_something():
    assert set(LOCKED) == set(WANTED)


@pytest.mark.parametrize("name", WANTED)
def test_all_that_is_asked_for_is_locked_in_a_version_that_fits(name):
    locked = pins(name)
    assert WANTED[name]
    for requirement in WANTED[name]:
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), str(requirement)


@pytest.mark.parametrize("name", WANTED)
def test_a_file_has_nothing_but_pins_with_hashes(name):
    assert [line for line in PIN.sub("", LOCKED[name]).splitlines() if not re.match(" *#", line)] == []
    assert "://" not in LOCKED[name]


def test_what_builds_the_package_is_the_same_in_both():
    assert pins("build").items() <= pins("dev").items()


# Stands for pip-audit: answers what the environment says, for all packages it is asked about.
PIP_AUDIT = """
import json, os, sys
known = json.loads(os.environ["KNOWN"])
if known is None:
    sys.exit("no route to the service")
lines = open(sys.argv[sys.argv.index("-r") + 1]).read().split()
assert len({line.split("==")[0] for line in lines}) == len(lines), "a name stands twice"
found = []
for name, version in (line.split("==") for line in lines):
    if known.get(name) == "skipped":
        found.append({"name": name, "skip_reason": "not found"})
        continue
    vulns = [{"id": one, "fix_versions": []} for one in known.get(name, ())]
    found.append({"name": name, "version": version, "vulns": vulns})
print(json.dumps({"dependencies": found}))
"""
PACKAGES = "one==1.0 \\\n    --hash=sha256:0\nsome-name==2 ; x\nsome-name==3 ; y\n"
ANSWERS = {"pycrypto": ["KNOWN-1"]}


@pytest.mark.parametrize(
    ("known", "code", "words"),
    [
        (ANSWERS, 0, ["audit: 3 packages, 0 known vulnerabilities by pypi"]),
        (ANSWERS | {"one": ["BAD-1"]}, 1, ["one==1.0: BAD-1, fixed in nothing yet", "1 known vulnerabilities"]),
        (ANSWERS | {"some-name": ["BAD-2"]}, 1, ["some-name==2: BAD-2", "some-name==3: BAD-2"]),
        (None, 0, ["AUDIT NOT DONE", "pypi: no route", "osv: no route"]),
        ({}, 0, ["AUDIT NOT DONE", "it knows no vulnerability of pycrypto==2.6.1"]),
        ({"one": ["BAD-1"]}, 0, ["AUDIT NOT DONE"]),
        (ANSWERS | {"one": "skipped"}, 0, ["AUDIT NOT DONE", "it does not know one==1.0"]),
        (ANSWERS | {"one": "skipped", "some-name": ["BAD-2"]}, 1, ["some-name==2: BAD-2"]),
    ],
    ids=["clean", "one", "of two versions", "no service", "an empty one", "a strange one", "a gap", "one and a gap"],
)
def test_the_audit_fails_on_what_is_known_and_says_loudly_when_nothing_is(tmp_path, known, code, words):
    (tmp_path / "pip_audit.py").write_text(PIP_AUDIT)
    (tmp_path / "locked.txt").write_text(PACKAGES)
    done = subprocess.run(
        [sys.executable, ROOT / ".ci" / "audit.py", "locked.txt"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "KNOWN": json.dumps(known)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (code, "")
    assert [word for word in words if word not in done.stdout] == []
