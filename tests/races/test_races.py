"""Each cell of the table: what one thread does, and what happens to the client meanwhile."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from tests.races.actions import ACTIONS
from tests.races.happenings import HAPPENINGS
from tests.races.table import CELLS, LEFT_OUT, SIDE_BY_SIDE, run_cell

SECONDS = os.environ.get("PYKAFKAEVT_TEST_SECONDS", "0.8")  # of acting, in each cell
SEED = os.environ.get("PYKAFKAEVT_TEST_SEED", "1")

Cell = tuple[str, str]


@pytest.fixture(scope="module")
def started(request: pytest.FixtureRequest) -> Iterator[dict[Cell, Callable[[], str]]]:
    """What gives the outcome of each cell of this run, which goes on side by side: a cell waits more than it works.

    Under pytest-xdist, which does that itself, a cell begins when it is asked.
    """
    cells = [item.callspec.params["cell"] for item in request.session.items if "started" in item.fixturenames]
    if "PYTEST_XDIST_WORKER" in os.environ:
        yield {cell: partial(run_cell, *cell, SECONDS, SEED) for cell in cells}
        return
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        yield {cell: pool.submit(run_cell, *cell, SECONDS, SEED).result for cell in cells}
        pool.shutdown(wait=False, cancel_futures=True)


@pytest.mark.parametrize("cell", CELLS, ids="-".join)
def test_calls_counters_reports_and_topic_agree_and_nothing_hangs(
    cell: Cell, started: dict[Cell, Callable[[], str]]
) -> None:
    wrong = started[cell]()
    assert not wrong, wrong


def test_what_is_left_out_names_pairs_of_the_table() -> None:
    assert all(action in ACTIONS and happening in HAPPENINGS for action, happening in LEFT_OUT)
    assert len(CELLS) + len(LEFT_OUT) == len(ACTIONS) * len(HAPPENINGS)
