"""Each cell of the table: what one thread does, and what happens to the client meanwhile."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.races.actions import ACTIONS
from tests.races.happenings import HAPPENINGS
from tests.races.table import CELLS, LEFT_OUT

ROOT = Path(__file__).parents[2]
SECONDS = os.environ.get("PYKAFKAEVT_TEST_SECONDS", "0.8")  # of acting, in each cell
SEED = os.environ.get("PYKAFKAEVT_TEST_SEED", "1")


@pytest.mark.parametrize(("action", "happening"), CELLS, ids=lambda name: name)
def test_calls_counters_reports_and_topic_agree_and_nothing_hangs(action: str, happening: str) -> None:
    command = [sys.executable, "-m", "tests.races.cell", action, happening, SECONDS, SEED]
    cell = subprocess.run(command, check=False, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert cell.returncode == 0, f"again with: {' '.join(command[1:])}\n{cell.stderr}"


def test_what_is_left_out_names_pairs_of_the_table() -> None:
    assert all(action in ACTIONS and happening in HAPPENINGS for action, happening in LEFT_OUT)
    assert len(CELLS) + len(LEFT_OUT) == len(ACTIONS) * len(HAPPENINGS)
