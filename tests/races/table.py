"""The cells of the table: every action with every happening, but for the pairs that say why not."""

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
