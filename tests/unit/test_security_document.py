"""docs/security.md says what is so: its bounds are the source's, its doors are all of them, and its tests are there."""

import ast
import importlib
import re
from itertools import chain
from pathlib import Path

import pytest
from msgspec.inspect import type_info

from pykafkaevt import __version__
from pykafkaevt.bridge.config import BridgeConfig
from pykafkaevt.bridge.inputs import TRANSPORTS
from pykafkaevt.bridge.mi import METHODS, READING

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "security.md").read_text()


def table(title):
    """The rows of the table behind a title, each its cells."""
    lines = TEXT.split(f"## {title}", maxsplit=1)[1].split("\n## ", maxsplit=1)[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split(" |")] for line in lines if line.startswith("| ")]
    assert len(rows) > 2
    return rows[1:]


BOUNDS = table("What is bounded by what")
THREATS = table("Threats, and what holds them")
DOORS = {row[0]: row for row in table("Who may do what")}


def numbers_in(value):
    """The numbers of a constant, in their order."""
    if isinstance(value, dict):
        return [float(one) for one in value.values()]
    return [float(one) for one in (value if isinstance(value, tuple) else (value,))]


def of_python(path, name):
    """The numbers of a constant of a module, or those of an option: least, greatest, usual."""
    if name.isupper():
        module = path.removesuffix(".py").replace("/", ".")
        return numbers_in(getattr(importlib.import_module(f"pykafkaevt.{module}"), name))
    assert path == "bridge/config.py"
    (field,) = (one for one in type_info(BridgeConfig).fields if one.name == name)
    number = field.type.type
    return numbers_in((number.ge, number.le, field.default))


def of_compiled(path, name):
    """The number of a constant of a compiled module or header."""
    source = (ROOT / "ext" / "pykafkaevt" / path).read_text()
    found = re.search(rf"^(?:#define|   ) {name}(?: =)? (.+?) *(?:#.*|/\*.*)?$", source, re.M)
    assert re.fullmatch(r"[\d <]+", found[1])
    return [float(eval(found[1], {"__builtins__": {}}))]


@pytest.mark.parametrize("row", BOUNDS, ids=lambda row: row[0])
def test_a_bound_is_that_of_the_source(row):
    _, bound, _, where = row
    expected = []
    for path, names in re.findall(r"`([\w/.]+)` ((?:\w+(?:, )?)+)", where):
        read = of_python if path.endswith(".py") else of_compiled
        expected += chain.from_iterable(read(path, name) for name in names.split(", ") if name)
    assert expected
    assert [float(number) for number in re.findall(r"\d+(?:\.\d+)?", bound)] == expected


@pytest.mark.parametrize("row", THREATS, ids=lambda row: row[1])
def test_what_holds_a_threat_is_a_test(row):
    held_by = re.findall(r"`(tests/\w+/test_\w+\.py)::(test_\w+)`", row[3])
    assert held_by
    assert len(held_by) == row[3].count("`") / 2
    for path, name in held_by:
        tree = ast.parse((ROOT / path).read_text())
        assert name in {one.name for one in ast.walk(tree) if isinstance(one, ast.FunctionDef)}, path


def test_each_input_method_and_page_has_its_door():
    doors = " ".join(DOORS)
    assert [scheme for scheme in TRANSPORTS if not re.search(rf"`{re.escape(scheme)}:(//)?`", doors)] == []
    (control,) = (row for name, row in DOORS.items() if name.startswith("the control socket"))
    assert re.findall(r"`(\w+)`", control[2]) == sorted(METHODS)
    (http,) = (row for name, row in DOORS.items() if name.startswith("HTTP (`--http`"))
    assert re.findall(r"`(\w+)`", http[2]) == sorted(READING)


def test_a_report_finds_its_way():
    assert "[SECURITY.md](../SECURITY.md)" in TEXT
    text = (ROOT / "SECURITY.md").read_text()
    assert "Report a vulnerability" in text
    assert f"({__version__.rpartition('.')[0]})" in text
    assert "@" not in text
