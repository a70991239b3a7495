"""The cells of the table: every action with every happening, but for the pairs that say why not."""

import subprocess
import sys

from tests.races.actions import ACTIONS
from tests.races.happenings import HAPPENINGS

LEFT_OUT = {
    ("await_many", "retired"): "an AsyncProducer has a client of its own: dropping it is in test_faults.py",
    ("kafka_publish", "retired"): "a broker ID stays until close()",
    ("drop", "closed"): "nobody else refers to what the thread drops",
    ("udp", "forked"): "the bridge does not fork",
    ("tcp", "forked"): "the bridge does not fork",
    ("reload", "forked"): "the bridge does not fork",
    ("reload", "retired"): "the same as reload beside anything: it retires the targets of before",
    ("fork", "forked"): "the same as emit_many beside forked",
    ("fork", "exit"): "a child of a process that ends goes on by itself: the same as fork beside closed",
    ("signal", "exit"): "handlers run on the main thread, and it is the one that leaves",
    ("signal", "retired"): "the handler's producer is the one that close() is about, not one that is gone",
    ("close", "retired"): "what close() is called on is referred to",
}

CELLS = [(action, happening) for action in ACTIONS for happening in HAPPENINGS if (action, happening) not in LEFT_OUT]
SIDE_BY_SIDE = 3  # a cell waits more than it works: 0.15 of a core


def run_cell(action: str, happening: str, seconds: str, seed: str) -> str:
    """Run a cell in a process of its own; empty, or how it failed and what runs it again."""
    command = [sys.executable, "-m", "tests.races.cell", action, happening, seconds, seed]
    ended = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True)
    return f"{ended.stderr}\nagain with: python {' '.join(command[1:])}" if ended.returncode else ""
