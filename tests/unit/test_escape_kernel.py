"""The C headers of the engine, each through a program of kernel/ that checks it against plain code."""

import ctypes
import platform
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykafkaevt.jsonrpc.values import simd

SECONDS = 120

REPLACE, STRICT, LATIN1 = range(3)  # the enum of unicode_escape.h
SHORT = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}


def escaped(text):
    return "".join(SHORT.get(c) or (f"\\u{ord(c):04x}" if c < " " else c) for c in text)


def run(program):
    done = subprocess.run([program], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_escaping_utf8_and_integers_as_the_package_is_built(compile_c):
    assert run(compile_c("escape")) == simd()


def test_escaping_utf8_and_integers_without_vector_instructions(compile_c):
    assert run(compile_c("escape", "-DJSON_SCALAR")) == "scalar"


def test_vector_instructions_are_used_where_the_processor_has_them():
    expected = {"x86_64": "sse2", "AMD64": "sse2", "aarch64": "neon", "arm64": "neon"}
    assert simd() == expected.get(platform.machine(), "scalar")


def test_counters_and_histogram(compile_c):
    run(compile_c("counters"))


def test_waiting_on_the_event_count(compile_c):
    run(compile_c("event_count"))


@pytest.fixture(scope="session")
def kernel(compile_c):
    library = ctypes.PyDLL(str(compile_c("unicode", "-shared", "-fPIC")))
    for name, arguments in (
        ("written_text", [ctypes.py_object, ctypes.c_int, ctypes.c_int]),
        ("written_bytes", [ctypes.py_object, ctypes.c_int]),
        ("carried_utf8", [ctypes.py_object]),
    ):
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, ctypes.py_object
    return library


@pytest.mark.parametrize(
    ("text", "replaced", "as_latin1", "bad"),
    [
        ("", "", "", None),
        ("é", "é", "é", None),
        ("a\x00\n\"\\\x7f/é", "a\\u0000\\n\\\"\\\\\x7f/é", "a\\u0000\\n\\\"\\\\\x7f/é", None),
        ("€\x1f", "€\\u001f", "€\\u001f", None),
        ("😀\t\udce9", "😀\\t\ufffd", "😀\\té", 2),
        ("\ud7ff\ud800\udfff\ue000", "\ud7ff\ufffd\ufffd\ue000", "\ud7ff\ufffd\ufffd\ue000", 1),
        ("\udc7f\udc80\udcff\udd00", "\ufffd" * 4, "\ufffd\x80ÿ\ufffd", 0),
    ],
)  # fmt: skip
def test_text_under_each_policy(kernel, text, replaced, as_latin1, bad):
    assert kernel.written_text(text, True, REPLACE) == replaced.encode()
    assert kernel.written_text(text, True, LATIN1) == as_latin1.encode()
    assert kernel.written_text(text, True, STRICT) == (replaced.encode() if bad is None else bad)


def test_room_is_enough_for_the_worst_text_of_each_width(kernel):
    for worst in ("\x00", "ÿ", "\uffff", "\U0010ffff"):
        for widener in ("", "é", "€", "😀"):
            text = worst * 300 + widener
            assert kernel.written_text(text, True, STRICT) == escaped(text).encode()
            assert kernel.written_text(text, False, STRICT) == text.encode()
            assert kernel.written_bytes(text.encode(), STRICT) == escaped(text).encode()
    assert kernel.written_bytes(b"\xff" * 300, REPLACE) == "\ufffd".encode() * 300


@given(st.text(st.characters(codec="utf-8") | st.sampled_from('\0\n"\\'), max_size=100))
def test_any_text(kernel, text):
    assert kernel.written_text(text, True, STRICT) == escaped(text).encode()
    assert kernel.written_text(text, False, STRICT) == text.encode()
    assert kernel.written_bytes(text.encode(), STRICT) == escaped(text).encode()


@given(st.binary(max_size=100))
def test_any_bytes(kernel, octets):
    assert kernel.written_bytes(octets, REPLACE) == escaped(octets.decode("utf-8", "replace")).encode()


def test_utf8_a_str_carries(kernel):
    cache_utf8 = ctypes.pythonapi.PyUnicode_AsUTF8
    cache_utf8.argtypes, cache_utf8.restype = [ctypes.py_object], ctypes.c_char_p
    assert kernel.carried_utf8("") == b""
    assert kernel.carried_utf8("ascii") == b"ascii"
    text = "".join(["gr", "ün"])
    assert kernel.carried_utf8(text) is None
    cache_utf8(text)
    assert kernel.carried_utf8(text) == text.encode()
