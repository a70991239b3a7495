"""What the docs and the README show is what happens."""

import doctest
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


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


def test_every_link_of_the_readme_and_the_docs_leads_to_a_file():
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for link in page.read_text().split("](")[1:]:
            target = link.split(")", maxsplit=1)[0]
            assert target.startswith("http") or (page.parent / target).exists(), (page, target)
