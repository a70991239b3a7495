"""What the docs and the README show is what happens, and the sources are as docs/architecture.md says."""

import ast
import doctest
import re
import textwrap
from pathlib import Path

import pytest

from pykafkaevt.properties import EXCLUDED, EXCLUDED_WHEN_TRUE

ROOT = Path(__file__).parents[2]
COMPILED = ROOT / "ext" / "pykafkaevt"
PYTHON = ROOT / "pykafkaevt"
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()

FILE_LINES = 450
FUNCTION_LINES = 50
SIZES_ARE_RIGHT_WITHIN = 30  # lines

# Compiled folders and modules, and what they may import besides their own.
LEAVES = {"errors", "log_rate", "secrets"}  # errors and log_rate are Python
MAY_IMPORT = {
    "secrets": set(),
    "socket_text": LEAVES,
    "jsonrpc": LEAVES,
    "sip": LEAVES | {"jsonrpc"},
    "kafka": LEAVES | {"jsonrpc", "references", "diagnosis"},
    "bridge": LEAVES | {"jsonrpc", "sip", "kafka"},
    "event": LEAVES | {"jsonrpc", "sip", "kafka"},
    "connector": LEAVES | {"jsonrpc", "kafka"},
}
# Python's folders, and those they may not import.
MAY_NOT_IMPORT = {"": {"cli", "bridge", "bench"}, "bridge": {"cli", "bench"}, "bench": {"cli", "bridge"}}


@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_the_examples_of_a_page(path):
    assert doctest.testfile(str(path), module_relative=False).failed == 0


def test_the_first_example_of_the_readme(capsys):
    text = (ROOT / "README.md").read_text()
    example = text[text.index("    from pykafkaevt import EventTemplate, Producer") :].split(
        "\n`embedded`", maxsplit=1
    )[0]
    exec(textwrap.dedent(example), {})
    assert "delivered=1001, failed=0" in capsys.readouterr().out


def test_every_link_of_a_page_leads_to_a_file():
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")):
        for link in page.read_text().split("](")[1:]:
            target = link.split(")", maxsplit=1)[0]
            assert target.startswith("http") or (page.parent / target).exists(), (page, target)


def test_the_properties_that_cannot_be_used_stand_in_the_document_of_sockets():
    text = (ROOT / "docs" / "sockets.md").read_text()
    assert [name for name in EXCLUDED if f"`g.{name}`" not in text] == []
    assert [name for name in EXCLUDED_WHEN_TRUE if f"`g.{name}=true`" not in text] == []


def sources(folder, *kinds):
    """The files of those kinds, without what setup.py writes and what is empty."""
    return [path for kind in kinds for path in sorted(folder.rglob(f"*.{kind}")) if path.stat().st_size]


def shown(path):
    return str(path.relative_to(ROOT))


def rows_of(header):
    """The rows of the page's table with this header: the folder, and the names in its second cell."""
    table = ARCHITECTURE.split(header, maxsplit=1)[1].split("\n\n", maxsplit=1)[0]
    for folder, cell in re.findall(r"^\| `([\w./]+)` \| (.*) \|$", table, re.M):
        yield folder.removesuffix("/").removesuffix("."), re.findall(r"`([\w.]+)`", cell)


def modules_of(header):
    return [f"{folder}/{name}".lstrip("/") for folder, names in rows_of(header) for name in names]


def compiled_name(path):
    return path.relative_to(COMPILED).with_suffix("").as_posix()


def test_the_architecture_names_each_compiled_module_and_header():
    there = {compiled_name(path) for path in sources(COMPILED, "pyx", "pxd")}
    headers = {path.relative_to(COMPILED).as_posix() for path in sources(COMPILED, "h")}
    named = modules_of("| `ext/pykafkaevt/` | |")
    assert {name for name in named if not name.endswith(".h")} == there
    in_prose = re.findall(r"`((?:jsonrpc|sip|kafka|bridge)/[\w.]+)`", ARCHITECTURE)
    assert {name for name in [*named, *in_prose] if name not in there | headers} == set()


def test_the_architecture_names_python_modules_that_exist():
    named = modules_of("| `pykafkaevt/` | |")
    assert named
    assert [name for name in named if not (PYTHON / f"{name}.py").exists()] == []


def test_the_architecture_has_the_sizes_of_the_compiled_sources():
    table = ARCHITECTURE.split("| | lines |", maxsplit=1)[1]
    wrong, named = [], set()
    for folder, cell in re.findall(r"^\| `([\w.]+)/` \| (.*) \|$", table, re.M):
        for name, first, second in re.findall(r"`([\w.]+)` (\d+)(?: \+ (\d+))?", cell):
            files = [name] if "." in name else [f"{name}.pyx", f"{name}.pxd"][: 2 if second else 1]
            for file, lines in zip(files, (first, second), strict=False):
                path = COMPILED / folder / file
                named.add(path)
                if abs(line_count(path) - int(lines)) > SIZES_ARE_RIGHT_WITHIN:
                    wrong.append(f"{shown(path)} has {line_count(path)} lines, not {lines}")
    assert wrong == []
    assert named == set(sources(COMPILED, "pyx", "pxd", "h"))


def line_count(path):
    return len(path.read_text().splitlines())


def test_no_file_is_too_long():
    files = [*sources(COMPILED, "pyx", "pxd", "h"), *sources(PYTHON, "py", "pyi", "js", "css", "html")]
    assert [f"{shown(path)}: {line_count(path)}" for path in files if line_count(path) > FILE_LINES] == []


def python_functions(text):
    """The functions of a Python source: their names and lines."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, node.end_lineno - node.lineno + 1


def cython_functions(text):
    """Those of a Cython source: from a line with def, cdef or cpdef whose statement ends in a colon to the last line
    that is indented deeper."""
    lines = text.splitlines()
    for start, line in enumerate(lines):
        head = re.match(r"( *)(?:async )?(?:def|cp?def)\b(?! (?:class|enum|struct|union|extern)\b)[^(]*?(\w+)\(", line)
        if head is None:
            continue
        end, open_brackets = start, line.count("(") - line.count(")")
        while open_brackets > 0:
            end += 1
            open_brackets += lines[end].count("(") - lines[end].count(")")
        if not lines[end].split("#", maxsplit=1)[0].rstrip().endswith(":"):
            continue
        inside = f"{head[1]} "
        for number in range(end + 1, len(lines)):
            if lines[number].startswith(inside):
                end = number
            elif lines[number].strip():
                break
        yield head[2], end - start + 1


def test_the_functions_of_a_cython_source_are_found():
    text = """
cdef int declared(int a)
cdef object table = make(1)
cdef int one(
    int a,
) except -1:
    return a

    # not of it: the blank line above is

cdef class C:
    def two(self):  # a remark
        return 1
    @property
    cdef inline int three(self, int (*f)(int)) noexcept:
        return 2
"""
    assert list(cython_functions(text)) == [("one", 6), ("two", 2), ("three", 2)]


@pytest.mark.parametrize("path", [*sources(COMPILED, "pyx", "pxd"), *sources(PYTHON, "py")], ids=shown)
def test_no_function_is_too_long(path):
    functions = python_functions if path.suffix == ".py" else cython_functions
    assert [f"{name}: {lines}" for name, lines in functions(path.read_text()) if lines > FUNCTION_LINES] == []


def imports_of(path):
    """The modules of the package that a source imports, as `folder/module`, and the headers of ours it includes."""
    text = path.read_text()
    for name in re.findall(r"^ *(?:from|c?import) pykafkaevt\.([\w.]+)", text, re.M):
        yield name.replace(".", "/")
    for folder, names in re.findall(r"^ *from pykafkaevt(?:\.(\w+))? c?import ([\w, ]+)", text, re.M):
        for name in re.findall(r"\w+", names):
            if (COMPILED / folder / f"{name}.pyx").exists():
                yield f"{folder}/{name}".lstrip("/")
    for header in re.findall(r'(?:#include|extern from) "([\w.]+)"', text):
        yield from (found.relative_to(COMPILED).as_posix() for found in COMPILED.rglob(header))


def test_imports_of_what_is_compiled_follow_the_arrows():
    upward = []
    for path in sources(COMPILED, "pyx", "pxd", "h"):
        own = compiled_name(path).split("/")[0]
        for name in imports_of(path):
            if name.split("/")[0] not in MAY_IMPORT[own] | {own}:
                upward.append(f"{shown(path)} imports {name}")
    assert upward == []
    assert [name for name in LEAVES - {"secrets"} if "pykafkaevt" in import_lines(PYTHON / f"{name}.py")] == []
    of_references = re.findall(r"pykafkaevt\.(\w+)", import_lines(PYTHON / "references.py"))
    assert set(of_references) <= LEAVES
    assert re.findall(r"pykafkaevt\.(\w+)", import_lines(PYTHON / "diagnosis.py")) == ["references"]


def import_lines(path):
    return "\n".join(re.findall(r"^ *(?:from|import) .*", path.read_text(), re.M))


def test_a_compiled_module_imports_only_those_of_its_folder_that_the_architecture_has_before_it():
    order = {name: place for place, name in enumerate(modules_of("| `ext/pykafkaevt/` | |"))}
    against = []
    for path in sources(COMPILED, "pyx", "pxd"):
        module = compiled_name(path)
        for name in imports_of(path):
            if name.endswith(".h") or name.rpartition("/")[0] != module.rpartition("/")[0]:
                continue
            if order.get(name, -1) > order[module]:
                against.append(f"{module} imports {name}")
    assert against == []


def test_imports_of_python_follow_the_arrows():
    upward = []
    for path in sources(PYTHON, "py"):
        folder = path.relative_to(PYTHON).parent.as_posix().removeprefix(".")
        if path.name == "__main__.py":
            continue
        for name in re.findall(r"^ *(?:from|import) pykafkaevt\.(\w+)", path.read_text(), re.M):
            if name in MAY_NOT_IMPORT.get(folder, ()):
                upward.append(f"{shown(path)} imports {name}")
    assert upward == []
