"""Serializing allocates nothing for an event: counted in a process whose allocations all pass a counter."""

import json
import os
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, itertools, json
from pykafkaevt import EventTemplate

made = ctypes.CDLL(None).allocations_made
made.restype = ctypes.c_ulong
template = EventTemplate("E_SIP", ["method", "callid", "cseq", "answered", "time", "score", "name"])
row = ("INVITE", "f" * 25, 4, None, 1790000000000000, 0.25, "M\\xfcller \\u20ac \\"x\\"")
a, b, c, d, e, f, g = row
into, rows, buffer = template.dumps_into, [row] * 2000, bytearray(300)

def alone(count):
    for _ in itertools.repeat(None, count):
        into(buffer, a, b, c, d, e, f, g)

def many(count):
    template.dumps_many(rows[:count])

found = {}
for call in (alone, many):
    call(2000)  # the buffer grows to what is needed
    counts = []
    for count in (100, 2000):
        before = made()
        call(count)
        counts.append(made() - before)
    found[call.__name__] = counts
print(json.dumps(found))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the counter stands before glibc's allocator")
def test_an_event_costs_no_allocation(compile_c):
    counter = compile_c("allocations", "-shared", "-fPIC")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "LD_PRELOAD": str(counter), "PYTHONMALLOC": "malloc"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found = json.loads(done.stdout)
    # a call's own, whatever the number of events (of less than 257 bytes: the int returned is one CPython has)
    for few, more in found.values():
        assert few == more < 20
