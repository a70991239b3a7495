"""`python -m tests.races.long [SECONDS [SEED [WITHOUT …]]]`: the cells of the table in random order, over and over.

Each time with another seed, some side by side; but for those of the actions and happenings WITHOUT. Ends with 1 at the
first that fails, and says the command that repeats it.
"""

import itertools
import random
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from tests.races.table import CELLS, SIDE_BY_SIDE, run_cell

CELL_SECONDS = (0.5, 3.0)  # longer cells would fill the mock cluster's 5 MB a partition
SAID_SECONDS = 60  # between two lines about how far it is


def choose(end: float, turns: random.Random, without: set[str]) -> Iterator[tuple[str, str, str, str]]:
    """The arguments of cells in random order, again and again until time.monotonic() is `end`."""
    chosen = [cell for cell in CELLS if not without & {*cell}]
    while True:
        for cell in turns.sample(chosen, len(chosen)):
            if time.monotonic() > end:
                return
            yield (*cell, f"{turns.uniform(*CELL_SECONDS):.1f}", str(turns.randrange(1 << 30)))


def main() -> int:
    """See above."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 1800.0
    turns = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else None)
    started = said = time.monotonic()
    done = 0
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        waiting: set[Future[str]] = set()
        cells = choose(started + seconds, turns, set(sys.argv[3:]))
        while True:
            waiting |= {pool.submit(run_cell, *cell) for cell in itertools.islice(cells, SIDE_BY_SIDE - len(waiting))}
            if not waiting:
                break
            ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            done += len(ended)
            if wrong := [text for future in ended if (text := future.result())]:
                print(f"races: one of {done} cells failed:\n{wrong[0]}")
                return 1
            if time.monotonic() - said > SAID_SECONDS:
                said = time.monotonic()
                print(f"races: {done} cells in {said - started:.0f} s", flush=True)
    print(f"races: {done} cells in {time.monotonic() - started:.0f} s, none failed; the table has {len(CELLS)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
