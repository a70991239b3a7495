"""`python -m tests.races.long [SECONDS [SEED]]`: the cells of the table in random order, over and over, each time with
another seed, two at a time. Ends with 1 at the first that fails, and says the command that repeats it.
"""

import itertools
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from tests.races.table import CELLS

SIDE_BY_SIDE = 2
CELL_SECONDS = (0.5, 3.0)  # longer cells would fill the mock cluster's 5 MB a partition


def commands(end: float, turns: random.Random) -> Iterator[list[str]]:
    """The cells in random order, again and again until time.monotonic() is `end`."""
    for _ in itertools.count():
        for action, happening in turns.sample(CELLS, len(CELLS)):
            if time.monotonic() > end:
                return
            seconds = f"{turns.uniform(*CELL_SECONDS):.1f}"
            yield [sys.executable, "-m", "tests.races.cell", action, happening, seconds, str(turns.randrange(1 << 30))]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """One cell."""
    return subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True)


def main() -> int:
    """See above."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 1800.0
    turns = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else None)
    started = said = time.monotonic()
    done = 0
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        waiting: set[Future[subprocess.CompletedProcess[str]]] = set()
        left = commands(started + seconds, turns)
        while True:
            waiting |= {pool.submit(run, command) for command in itertools.islice(left, SIDE_BY_SIDE - len(waiting))}
            if not waiting:
                break
            ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for cell in (future.result() for future in ended):
                done += 1
                if cell.returncode:
                    print(f"races: cell {done} failed:\n{cell.stderr}\nagain with: python {' '.join(cell.args[1:])}")
                    return 1
            if time.monotonic() - said > 60:
                said = time.monotonic()
                print(f"races: {done} cells in {said - started:.0f} s", flush=True)
    print(f"races: {done} cells of {len(CELLS)} kinds in {time.monotonic() - started:.0f} s, no failure")
    return 0


if __name__ == "__main__":
    sys.exit(main())
