"""An object whose __init__ never ran: whatever is asked of it, the worst is an exception.

Run with a module's name it is the program that asks, in processes of its own, and prints what ended one of them.
"""

import copy
import inspect
import os
import pickle
import signal
import subprocess
import sys
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

import pykafkaevt

ROOT = Path(pykafkaevt.__file__).parent
SECONDS = 60
HANGS = 5  # seconds after which a call hangs
# what makes an object or belongs to its class
SKIPPED = {"__class__", "__init__", "__init_subclass__", "__new__", "__subclasshook__", "__class_getitem__"}
OPERATIONS = {
    "repr": repr,
    "str": str,
    "hash": hash,
    "bool": bool,
    "len": len,
    "list": list,
    "equal": lambda one: one == one,
    "in": lambda one: None in one,
    "item": lambda one: one[0],
    "copy": copy.copy,
    "pickle": pickle.dumps,
}


def compiled_modules():
    suffix = next(suffix for suffix in EXTENSION_SUFFIXES if any(ROOT.rglob(f"*{suffix}")))
    for path in sorted(ROOT.rglob(f"*{suffix}")):
        yield ".".join(("pykafkaevt", *path.relative_to(ROOT).parts)).removesuffix(suffix)


def public_modules():
    values = (getattr(pykafkaevt, name) for name in pykafkaevt.__all__)
    return {value.__module__ for value in values if isinstance(value, type)}


MODULES = sorted({*compiled_modules(), *public_modules()})


@pytest.mark.parametrize("module", MODULES)
def test_nothing_crashes_without_init(module):
    done = subprocess.run(
        [sys.executable, __file__, module],
        env={**os.environ, "PYTHONPATH": str(ROOT.parent)},
        capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, ""), f"{done.stdout}{done.stderr[-3000:]}"


def arguments():
    template = pykafkaevt.EventTemplate("E", ["a"])
    yield from ((value,) for value in (None, 0, -1, 1.5, "", "a", b"a", {}, (), (None,), template))
    yield from ((value,) for value in ([], [b"a"], [None], [("a",)]))
    yield from ((None,) * n for n in (0, 2, 3, 4, 5, 6, 8))
    yield from (("a", "b"), (0, 0), (b"a", 1), ("a", b"b", "c"), ("a", "[k]h/t", None), (template, "a"))
    yield from ((template, [("a",)]), (template, [["a"]]), ("a", [b"b"]), ("a", None, None, None))


def bare(cls):
    """Makers of objects of the class, and of a subclass, without its __init__."""
    yield "object", lambda: cls.__new__(cls)
    try:
        subclass = type("Subclass", (cls,), {"__init__": lambda self: None})
    except TypeError:
        return
    yield "subclass", subclass


def attempt(call):
    try:
        result = call()
        if inspect.iscoroutine(result):
            result.send(None)
    except Exception as error:
        return error
    return result


def end_of(calls):
    """The name of the signal that ends a process which makes the calls, None without one."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(HANGS)
        for call in calls:
            attempt(call)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else None


def ask(what, calls):
    """Print which of the calls (by what they are shown as) end a process."""
    if end_of(calls.values()):
        for shown, call in calls.items():
            if end := end_of([call]):
                print(f"{what}{shown}: {end}", flush=True)


def ask_everything(cls):
    for kind, make in bare(cls):
        what = f"{cls.__module__}.{cls.__qualname__} ({kind})"
        if end_of([make]) or isinstance(attempt(make), Exception):
            ask(what, {" made": make})
            continue
        ask(what, {f": {name}": lambda operation=one: operation(make()) for name, one in OPERATIONS.items()})  # noqa: B023
        for name in sorted(set(dir(cls)) - SKIPPED):
            if getattr(cls, name) is getattr(object, name, None):
                continue
            calls = {"": lambda: getattr(make(), name)}  # noqa: B023
            for args in arguments():
                calls[repr(args)] = lambda args=args: getattr(make(), name)(*args)  # noqa: B023
            ask(f"{what}.{name}", calls)


def main(module):
    for cls in vars(import_module(module)).values():
        if isinstance(cls, type) and cls.__module__ == module:
            ask_everything(cls)


if __name__ == "__main__":
    main(sys.argv[1])
