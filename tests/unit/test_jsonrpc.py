"""JSON-RPC notifications: OpenSIPS's bytes, every kind of value, what is refused and how."""

import array
import base64
import codecs
import collections
import copy
import ctypes
import datetime
import enum
import json
import mmap
import pickle
import re
import sys
import threading
import types
import uuid
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykafkaevt import SKIP, Error, EventTemplate, RawJSON, SerializeError, SerializeTypeError, dumps

GOLDEN = json.loads((Path(__file__).parent.parent / "data" / "golden_jsonrpc.json").read_text("utf-8"))
FAITHFUL = [vector for vector in GOLDEN if vector["faithful"]]
LOSSY = [vector for vector in GOLDEN if not vector["faithful"]]

SHORT = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}
MUST_ESCAPE = [chr(code) for code in range(0x20)] + ['"', "\\"]
AS_IT_IS = [
    "/",
    "\x7f",
    " ",
    "!",
    "#",
    "[",
    "]",
    "<",
    "&",
    "\x80",
    "é",
    "ÿ",
    "\u2028",
    "\ud7ff",
    "\ue000",
    "😀",
]
# one of each width of CPython's str, and of UTF-8
FILLERS = {"ASCII": "a", "latin-1": "é", "UCS2": "€", "UCS4": "😀"}

HEAD = b'{"jsonrpc":"2.0","method":"E"'


def value_text(value, **options):
    """The JSON text of one value, as both entry points write it."""
    alone = dumps("E", [value], **options)
    named = EventTemplate("E", ["f"], **options).dumps(value)
    start, end = HEAD + b',"params":', b"}"
    assert alone.startswith(start + b"[")
    assert named.startswith(start + b'{"f":')
    text = alone[len(start) + 1 : -2]
    assert alone == start + b"[" + text + b"]" + end
    assert named == start + b'{"f":' + text + b"}" + end
    return text


def quoted(text):
    """The reference: RFC 8259's short escapes, other control characters as \\u00xx, all else as UTF-8."""
    return '"{}"'.format("".join(SHORT.get(c) or (f"\\u{ord(c):04x}" if c < " " else c) for c in text)).encode()


def nested(depth, innermost):
    for _ in range(depth):
        innermost = [innermost]
    return innermost


# What OpenSIPS writes


@pytest.mark.parametrize("vector", FAITHFUL, ids=[vector["name"] for vector in FAITHFUL])
def test_bytes_are_those_of_opensips(vector):
    event, pairs, expected = vector["event"], vector["params"], base64.b64decode(vector["payload_b64"])
    names = [name for name, _ in pairs]
    assert EventTemplate(event, names).dumps(*(value for _, value in pairs)) == expected
    assert dumps(event, params_pairs=pairs or None) == expected
    if len(set(names)) == len(names):
        assert dumps(event, dict(pairs) or None) == expected


@pytest.mark.parametrize("vector", LOSSY, ids=[vector["name"] for vector in LOSSY])
def test_value_is_kept_where_opensips_loses_it(vector):
    names, values = zip(*vector["params"], strict=True)
    if names[0] is None:
        assert json.loads(dumps(vector["event"], values))["params"] == list(values)
        return
    expected = dict(vector["params"])
    for text in (
        dumps(vector["event"], expected),
        dumps(vector["event"], params_pairs=vector["params"]),
        EventTemplate(vector["event"], names).dumps(*values),
    ):
        # as text: 1 is no True, -0.0 no 0.0
        assert repr(json.loads(text)["params"]) == repr(expected)


# The shape of the notification


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (None, HEAD + b"}"),
        ({}, HEAD + b',"params":{}}'),
        ([], HEAD + b',"params":[]}'),
        ((), HEAD + b',"params":[]}'),
        ({"b": 1, "a": 2}, HEAD + b',"params":{"b":1,"a":2}}'),
        (collections.OrderedDict(b=1, a=2), HEAD + b',"params":{"b":1,"a":2}}'),
        (types.MappingProxyType({"b": 1, "a": 2}), HEAD + b',"params":{"b":1,"a":2}}'),
        (collections.UserDict(b=1, a=2), HEAD + b',"params":{"b":1,"a":2}}'),
        ([1, "x", None], HEAD + b',"params":[1,"x",null]}'),
        ((1, "x", None), HEAD + b',"params":[1,"x",null]}'),
    ],
)
def test_params_shape(params, expected):
    assert dumps("E", params) == expected


def test_names_may_repeat():
    expected = HEAD + b',"params":{"a":1,"b":2,"a":3}}'
    assert dumps("E", params_pairs=[("a", 1), ("b", 2), ("a", 3)]) == expected
    assert dumps("E", params_pairs=iter([("a", 1), ("b", 2), ("a", 3)])) == expected
    assert EventTemplate("E", ["a", "b", "a"]).dumps(1, 2, 3) == expected


def test_template_without_fields_has_no_params():
    assert EventTemplate("E", []).dumps() == HEAD + b"}"


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 25, 26, 27, 28, 31, 32, 33, 63, 64, 65, 300])
@pytest.mark.parametrize("filler", FILLERS.values(), ids=FILLERS)
def test_names_of_any_length_are_escaped(length, filler):
    name = filler * length + '"'
    body = b',"params":{' + quoted(name) + b':1,"z":"v"}}'
    assert dumps("E", {name: 1, "z": "v"}) == HEAD + body
    assert EventTemplate("E", [name, "z"]).dumps(1, "v") == HEAD + body
    named = b'{"jsonrpc":"2.0","method":' + quoted(name) + body
    assert dumps(name, {name: 1, "z": "v"}) == named
    assert EventTemplate(name, [name, "z"]).dumps(1, "v") == named


def test_many_fields_and_long_values_fit_the_growing_buffer():
    names = [f"field{i}" for i in range(500)]
    values = ["\x01" * i for i in range(500)]
    expected = dict(zip(names, values, strict=True))
    assert json.loads(EventTemplate("E", names).dumps(*values))["params"] == expected
    assert json.loads(dumps("E", expected))["params"] == expected
    assert value_text("\x01" * 1_000_000) == b'"' + b"\\u0001" * 1_000_000 + b'"'


@pytest.mark.parametrize(
    ("values", "members"),
    [
        ((SKIP, 2, "3"), b'{"b":2,"c":"3"}'),
        (("1", SKIP, 3), b'{"a":"1","c":3}'),
        ((1, "2", SKIP), b'{"a":1,"b":"2"}'),
        ((SKIP, SKIP, "3"), b'{"c":"3"}'),
        (("1", SKIP, SKIP), b'{"a":"1"}'),
        ((SKIP, None, SKIP), b'{"b":null}'),
    ],
)
def test_skip_leaves_its_member_out(values, members):
    expected = HEAD + b',"params":' + members + b"}"
    assert EventTemplate("E", ["a", "b", "c"]).dumps(*values) == expected
    assert dumps("E", dict(zip("abc", values, strict=True))) == expected
    assert dumps("E", params_pairs=zip("abc", values, strict=True)) == expected
    left = [value for value in values if value is not SKIP]
    assert json.loads(dumps("E", values))["params"] == left


def test_template_with_every_member_skipped_has_no_params():
    assert EventTemplate("E", ["a", "b"]).dumps(SKIP, SKIP) == HEAD + b"}"


def test_empty_container_stays_when_every_member_is_skipped():
    assert dumps("E", {"a": SKIP}) == HEAD + b',"params":{}}'
    assert dumps("E", [SKIP, SKIP]) == HEAD + b',"params":[]}'


def test_template_shows_what_it_was_made_from():
    template = EventTemplate("E_X", ["a", "b"], invalid="strict")
    assert (template.method, template.fields, template.invalid) == ("E_X", ("a", "b"), "strict")
    assert repr(template) == "EventTemplate('E_X', ['a', 'b'])"


# Text


@pytest.mark.parametrize("c", MUST_ESCAPE + AS_IT_IS, ids=lambda c: f"U+{ord(c):04X}")
@pytest.mark.parametrize("filler", FILLERS.values(), ids=FILLERS)
def test_each_character_at_each_place(c, filler):
    for place in range(41):
        text = filler * place + c + filler * (40 - place)
        assert value_text(text) == quoted(text)
        assert value_text(text.encode()) == quoted(text)


@pytest.mark.parametrize("c", ['"', "\\", "\x00", "\x1f"], ids=lambda c: f"U+{ord(c):04X}")
@pytest.mark.parametrize("filler", FILLERS.values(), ids=FILLERS)
def test_each_length_with_an_escape_at_each_place(c, filler):
    for length in range(41):
        for place in range(length + 1):
            text = filler * place + c + filler * (length - place)
            expected = HEAD + b',"params":[' + quoted(text) + b"]}"
            assert dumps("E", [text]) == expected
            assert dumps("E", [text.encode()]) == expected


def test_str_with_its_utf8_already_cached():
    cache_utf8 = ctypes.pythonapi.PyUnicode_AsUTF8
    cache_utf8.argtypes, cache_utf8.restype = [ctypes.py_object], ctypes.c_char_p
    for filler in FILLERS.values():
        for length in range(41):
            text = filler * length + '"' + filler * (40 - length)
            cache_utf8(text)
            assert value_text(text) == quoted(text)


def test_escapes_side_by_side():
    everything = "".join(map(chr, range(0x100))) * 3
    assert value_text(everything) == quoted(everything)
    assert value_text('"\\' * 50) == b'"' + b'\\"\\\\' * 50 + b'"'


def test_nul_is_kept():
    assert value_text("a\0b") == value_text(b"a\0b") == b'"a\\u0000b"'


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=100))
def test_any_text(text):
    assert value_text(text) == quoted(text)
    assert value_text(text.encode()) == quoted(text)


@pytest.mark.parametrize(
    "value",
    [
        b"a\xc3\xa9\n",
        bytearray(b"a\xc3\xa9\n"),
        memoryview(b"a\xc3\xa9\n"),
        memoryview(b"\nA\xa9A\xc3AaA")[-2::-2],
    ],
)
def test_bytes_like_values_are_text(value):
    assert value_text(value) == '"aé\\n"'.encode()


class Text(str):
    __slots__ = ()


class Octets(bytes):
    __slots__ = ()


class Number(int):
    def __repr__(self):
        return "not JSON"


class Real(float):
    def __repr__(self):
        return "not JSON"


class Level(enum.IntEnum):
    LOW = -1
    HIGH = 2**70


class Method(str, enum.Enum):
    INVITE = "INVITE"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Text("aé\n"), '"aé\\n"'.encode()),
        (Text("a\n"), b'"a\\n"'),
        (Octets(b"a\n"), b'"a\\n"'),
        (Number(7), b"7"),
        (Real(7.5), b"7.5"),
        (Level.LOW, b"-1"),
        (Level.HIGH, b"1180591620717411303424"),
        (Method.INVITE, b'"INVITE"'),
    ],
)
def test_subclass_counts_as_its_base(value, expected):
    assert value_text(value) == expected


def test_method_and_names_may_be_subclasses_of_str():
    expected = b'{"jsonrpc":"2.0","method":"INVITE","params":{"INVITE":1}}'
    assert dumps(Method.INVITE, {Method.INVITE: 1}) == expected
    assert EventTemplate(Method.INVITE, [Method.INVITE]).dumps(1) == expected
    assert type(EventTemplate(Text("E"), []).method) is str


# Text that is not valid UTF-8

INVALID = [
    (b"\xff", "\ufffd", "ÿ"),
    (b"\x80a", "\ufffda", "\x80a"),
    (b"a\xc3", "a\ufffd", "aÃ"),
    (b"\xc3(", "\ufffd(", "Ã("),
    (b"\xc0\x80", "\ufffd\ufffd", "À\x80"),
    (b"\xe0\x9f\xbf", "\ufffd\ufffd\ufffd", "à\x9f¿"),
    (b"\xe2\x82", "\ufffd", "â\x82"),
    (b"\xe2\x82\xe2\x82\xac", "\ufffd€", "â\x82€"),
    (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd", "í\xa0\x80"),
    (b"\xf0\x8f\xbf\xbf", "\ufffd" * 4, "ð\x8f¿¿"),
    (b"\xf0\x9f\x98", "\ufffd", "ð\x9f\x98"),
    (b"\xf4\x90\x80\x80", "\ufffd" * 4, "ô\x90\x80\x80"),
    (b"\xf5\x80", "\ufffd\ufffd", "õ\x80"),
    (b'0123456789abcdef\xff"\\\n', '0123456789abcdef\ufffd"\\\n', '0123456789abcdefÿ"\\\n'),
]


@pytest.mark.parametrize(("value", "replaced", "as_latin1"), INVALID)
def test_invalid_utf8_follows_the_policy(value, replaced, as_latin1):
    assert value_text(value) == value_text(value, invalid="replace") == quoted(replaced)
    assert value_text(value, invalid="latin-1") == quoted(as_latin1)
    with pytest.raises(SerializeError, match=r"^0: byte [0-9]+ is not valid UTF-8$"):
        dumps("E", [value], invalid="strict")


@given(st.lists(st.sampled_from([*(b"%c" % c for c in range(0x70, 0x100)), b"a" * 9, "é€😀".encode()])))
def test_any_bytes_under_each_policy(parts):
    value = b"".join(parts)
    codecs.register_error("as-latin-1", lambda e: (e.object[e.start : e.end].decode("latin-1"), e.end))
    assert value_text(value) == quoted(value.decode("utf-8", "replace"))
    assert value_text(value, invalid="latin-1") == quoted(value.decode("utf-8", "as-latin-1"))
    try:
        expected = value.decode()
    except UnicodeDecodeError as error:
        with pytest.raises(SerializeError, match=f"byte {error.start} is not"):
            dumps("E", [value], invalid="strict")
    else:
        assert value_text(value, invalid="strict") == quoted(expected)


@pytest.mark.parametrize(
    ("value", "replaced", "as_latin1"),
    [
        (b"caf\xe9".decode("utf-8", "surrogateescape"), "caf\ufffd", "café"),
        ("\udc80\udcff", "\ufffd\ufffd", "\x80ÿ"),
        ("\udc7f\udd00\ud800\udfff", "\ufffd" * 4, "\ufffd" * 4),
        ("\ud83d\ude00", "\ufffd\ufffd", "\ufffd\ufffd"),
        ('😀\udce9"', '😀\ufffd"', '😀é"'),
    ],
)
def test_lone_surrogates_follow_the_policy(value, replaced, as_latin1):
    assert value_text(value) == quoted(replaced)
    assert value_text(value, invalid="latin-1") == quoted(as_latin1)
    assert value_text([value]) == b"[" + quoted(replaced) + b"]"
    with pytest.raises(SerializeError, match=r"^0: character [0-9]+ is a lone surrogate"):
        dumps("E", [value], invalid="strict")


@given(st.text(st.characters(min_codepoint=0xD7F0, max_codepoint=0xE010) | st.characters(max_codepoint=0x80)))
def test_any_str_with_surrogates_is_valid_json(text):
    assert value_text(text) == quoted(re.sub("[\ud800-\udfff]", "\ufffd", text))


def test_names_follow_the_policy_too():
    template = EventTemplate("\udce9", ["\udce9"], invalid="latin-1")
    assert template.dumps(1) == '{"jsonrpc":"2.0","method":"é","params":{"é":1}}'.encode()
    assert dumps("\udce9", {"\udce9": 1}) == '{"jsonrpc":"2.0","method":"\ufffd","params":{"\ufffd":1}}'.encode()
    for make in (
        lambda: EventTemplate("\udce9", [], invalid="strict"),
        lambda: EventTemplate("E", ["\udce9"], invalid="strict"),
        lambda: dumps("E", {"\udce9": 1}, invalid="strict"),
        lambda: dumps("E", [{"\udce9": 1}], invalid="strict"),
    ):
        with pytest.raises(SerializeError, match="lone surrogate"):
            make()


# Numbers and constants

EDGES = sorted(
    {
        sign * (base + step)
        for sign in (1, -1)
        for base in [0, *(10**k for k in range(1, 23)), 2**31, 2**32, 2**53, 2**63, 2**64, 10**100]
        for step in (-1, 0, 1)
    }
)


@pytest.mark.parametrize("value", EDGES)
def test_integers_of_any_size(value):
    assert value_text(value) == str(value).encode()
    assert value_text([value]) == b"[%d]" % value


@given(st.integers(-(2**80), 2**80) | st.integers(-(10**6), 10**6))
def test_any_integer(value):
    assert value_text(value) == str(value).encode()


@pytest.mark.skipif(not hasattr(sys, "get_int_max_str_digits"), reason="python: no limit on integers' digits")
def test_integer_above_the_interpreters_limit_of_digits_is_refused():
    assert value_text(10 ** (sys.get_int_max_str_digits() - 1)).startswith(b"100")
    with pytest.raises(SerializeError, match=r"^0: .*digits"):
        dumps("E", [10 ** sys.get_int_max_str_digits()])


@pytest.mark.parametrize(("value", "expected"), [(True, b"true"), (False, b"false"), (None, b"null")])
def test_constants(value, expected):
    assert value_text(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, b"0.0"),
        (-0.0, b"-0.0"),
        (1.0, b"1.0"),
        (-1.5, b"-1.5"),
        (0.1, b"0.1"),
        (0.1 + 0.2, b"0.30000000000000004"),
        (100.0, b"100.0"),
        (123.456789, b"123.456789"),
        (123.4567891, b"123.4567891"),
        (0.000001, b"1e-06"),
        (0.0001, b"0.0001"),
        (0.00099999, b"0.00099999"),
        (0.001, b"0.001"),
        (0.0010000000000000002, b"0.0010000000000000002"),
        (99999999999999.9, b"99999999999999.9"),
        (999999999999999.9, b"999999999999999.9"),
        (1e15, b"1000000000000000.0"),
        (1e16, b"1e+16"),
        (2.0**53 - 1, b"9007199254740991.0"),
        (1.7976931348623157e308, b"1.7976931348623157e+308"),
        (5e-324, b"5e-324"),
        (float("nan"), b"null"),
        (float("inf"), b"null"),
        (float("-inf"), b"null"),
    ],
)
def test_float_is_the_shortest_text_that_reads_back(value, expected):
    assert value_text(value) == expected


@given(
    st.floats(allow_nan=False, allow_infinity=False)
    | st.floats(1e-4, 1e16)
    | st.floats(-1e16, -1e-4)
    | st.builds(lambda n, k: n / 10**k, st.integers(-(10**16), 10**16), st.integers(0, 8))
)
def test_any_finite_float_is_its_repr(value):
    assert value_text(value) == repr(value).encode()


# Nested values and JSON text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([], b"[]"),
        ({}, b"{}"),
        ((1, [2], {"k": "v"}), b'[1,[2],{"k":"v"}]'),
        ({"a": [1, "x", None, True, 1.5]}, b'{"a":[1,"x",null,true,1.5]}'),
        (["a\n\x1f\x7f/é"], '["a\\n\\u001f\x7f/é"]'.encode()),
        ([float("nan")], b"[null]"),
        # what orjson refuses
        ([b"a\n"], b'["a\\n"]'),
        ([b"\xff", bytearray(b"x"), memoryview(b"y")], '["\ufffd","x","y"]'.encode()),
        ([2**64, -(2**63) - 1], b"[18446744073709551616,-9223372036854775809]"),
        (["\ud800", {"\ud800": 1}], '["\ufffd",{"\ufffd":1}]'.encode()),
        ([RawJSON(b"[1, 2]")], b"[[1, 2]]"),
        ([b"", [], {}, (), [[]], {"a": {}}], b'["",[],{},[],[[]],{"a":{}}]'),
        ([b"", 1, "x", None, True, False, 1.5, float("inf"), Level.LOW, Text("t")],
         b'["",1,"x",null,true,false,1.5,null,-1,"t"]'),
        ({"a": b"", "b": {"c": [b"", 1]}}, b'{"a":"","b":{"c":["",1]}}'),
        (collections.OrderedDict(a=b"", b=1), b'{"a":"","b":1}'),
        # types that orjson knows
        (datetime.date(2026, 8, 1), b'"2026-08-01"'),
        (uuid.UUID(int=1), b'"00000000-0000-0000-0000-000000000001"'),
        ([b"", datetime.date(2026, 8, 1)], b'["","2026-08-01"]'),
    ],
)  # fmt: skip
def test_nested_values(value, expected):
    assert value_text(value) == expected


@pytest.mark.parametrize("innermost", [1, b"x"], ids=["orjson's path", "own path"])
def test_nesting_up_to_254_levels(innermost):
    text = value_text(nested(254, innermost))
    assert text.startswith(b"[" * 254)
    assert text.endswith(b"]" * 254)
    for depth in (255, 300, 100_000):
        with pytest.raises(SerializeError, match=r"^0: nested deeper than 254 levels$"):
            dumps("E", [nested(depth, innermost)])


@pytest.mark.parametrize("container", ["list", "list of bytes", "dict"])
def test_value_that_contains_itself_is_refused(container):
    if container == "dict":
        value = {}
        value["self"] = value
    else:
        value = [b"x"] if container == "list of bytes" else []
        value.append(value)
    with pytest.raises(SerializeError, match="nested deeper"):
        EventTemplate("E", ["f"]).dumps(value)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), JSON_VALUES, max_size=5))
def test_same_meaning_as_orjson(params):
    expected = json.loads(orjson.dumps({"jsonrpc": "2.0", "method": "E", "params": params}))
    assert json.loads(dumps("E", params)) == expected
    assert json.loads(dumps("E", params_pairs=params.items())) == expected
    if params:
        assert json.loads(EventTemplate("E", list(params)).dumps(*params.values())) == expected
    values = list(params.values())
    assert json.loads(dumps("E", values))["params"] == json.loads(orjson.dumps(values))


@given(JSON_VALUES)
def test_own_path_has_the_same_meaning_as_orjson(value):
    # bytes anywhere in a nested value keep orjson from writing it
    assert json.loads(value_text([value, b""])) == json.loads(orjson.dumps([value, ""]))


@pytest.mark.parametrize(
    "data",
    [b'{"a": 1}', '{"a": 1}', bytearray(b'{"a": 1}'), memoryview(b'{"a": 1}')],
    ids=lambda data: type(data).__name__,
)
def test_raw_json_goes_in_as_it_is(data):
    raw = RawJSON(data)
    assert raw.data == b'{"a": 1}'
    assert value_text(raw) == b'{"a": 1}'
    assert repr(raw) == """RawJSON(b'{"a": 1}')"""


@pytest.mark.parametrize("data", [b"", b"{", b"1 2", b"NaN", b"'a'", b'"\xff"', "\ud800", b"\xef\xbb\xbf1", b"1,2"])
def test_raw_json_must_be_json(data):
    with pytest.raises(SerializeError):
        RawJSON(data)


@pytest.mark.parametrize("data", [None, 1, ["x"], {}])
def test_raw_json_must_be_bytes_or_str(data):
    with pytest.raises(SerializeTypeError, match=f"not {type(data).__name__}"):
        RawJSON(data)


def test_raw_json_cannot_be_made_empty():
    with pytest.raises(TypeError):
        RawJSON.__new__(RawJSON)


# What is refused


@pytest.mark.parametrize(
    "value",
    [
        object(),
        object,
        1j,
        {1, 2},
        range(3),
        iter("ab"),
        collections.deque(),
        types.MappingProxyType({}),
        print,
    ],
    ids=lambda value: type(value).__name__,
)
def test_type_without_json_names_field_and_type(value):
    reason = f"'port': a value of type {type(value).__name__} has no JSON text"
    for call in (
        lambda value: dumps("E", {"ip": "h", "port": value}),
        lambda value: dumps("E", params_pairs=[("ip", "h"), ("port", value)]),
        lambda value: EventTemplate("E", ["ip", "port"]).dumps("h", value),
        lambda value: EventTemplate("E", ["ip", "port"]).dumps_into(bytearray(99), "h", value),
    ):
        for given_value in (value, [value], {"deep": [b"", value]}):
            with pytest.raises(SerializeTypeError) as caught:
                call(given_value)
            assert str(caught.value) == reason
            assert isinstance(caught.value, Error)
            assert isinstance(caught.value, TypeError)


def test_array_element_is_named_by_its_index():
    with pytest.raises(SerializeTypeError, match=r"^2: a value of type object"):
        dumps("E", [0, 1, object()])


@pytest.mark.parametrize("value", [[SKIP], {"a": SKIP}, {"a": [b"", SKIP]}])
def test_skip_is_no_nested_value(value):
    with pytest.raises(SerializeTypeError, match=r"^'f': SKIP leaves a member"):
        dumps("E", {"f": value})


@pytest.mark.parametrize("value", [{1: "x"}, {None: "x"}, {"a": {b"b": 1}}, [{("t",): 1}]])
def test_nested_name_must_be_str(value):
    with pytest.raises(SerializeTypeError, match=r"^'f': a member's name must be str, not "):
        dumps("E", {"f": value})


@pytest.mark.parametrize("values", [(), (1,), (1, 2, 3)])
def test_wrong_number_of_values(values):
    template = EventTemplate("E_X", ["a", "b"])
    for call in (template.dumps, lambda *values: template.dumps_into(bytearray(99), *values)):
        with pytest.raises(SerializeError, match=f"^E_X: 2 fields need as many values, not {len(values)}$"):
            call(*values)


@pytest.mark.parametrize(
    ("call", "error", "reason"),
    [
        (lambda: dumps(""), SerializeError, "is empty"),
        (lambda: dumps(5), TypeError, "must be str, not int"),
        (lambda: dumps(b"E"), TypeError, "must be str, not bytes"),
        (lambda: dumps("E", "text"), SerializeTypeError, "not str"),
        (lambda: dumps("E", {1, 2}), SerializeTypeError, "not set"),
        (lambda: dumps("E", iter([1])), SerializeTypeError, "not list_iterator"),
        (lambda: dumps("E", {1: 2}), SerializeTypeError, "name must be str, not int"),
        (lambda: dumps("E", params_pairs=[(None, 2)]), SerializeTypeError, "name must be str, not NoneType"),
        (lambda: dumps("E", {}, params_pairs=[]), TypeError, "exclude each other"),
        (lambda: dumps("E", params_pairs=5), TypeError, "not iterable"),
        (lambda: dumps("E", invalid="ignore"), ValueError, "'ignore'"),
        (lambda: EventTemplate("", []), SerializeError, "is empty"),
        (lambda: EventTemplate(5, []), TypeError, "must be str, not int"),
        (lambda: EventTemplate("E", "ab"), TypeError, "not one str"),
        (lambda: EventTemplate("E", ["a", 5]), TypeError, "name must be str, not int"),
        (lambda: EventTemplate("E", None), TypeError, "not iterable"),
        (lambda: EventTemplate("E", [], invalid=None), ValueError, "None"),
    ],
)
def test_wrong_arguments(call, error, reason):
    with pytest.raises(error, match=reason):
        call()


def test_refused_value_does_no_harm_to_the_next_event():
    template = EventTemplate("E", ["a", "b"])
    for _ in range(3):
        with pytest.raises(SerializeTypeError):
            template.dumps("x" * 5000, object())
        assert template.dumps("x", 1) == HEAD + b',"params":{"a":"x","b":1}}'


# Into a caller's buffer

TEMPLATE = EventTemplate("E", ["a"])
EVENT = HEAD + b',"params":{"a":"value"}}'


def targets(size):
    mapped = mmap.mmap(-1, mmap.PAGESIZE)
    return [
        bytearray(size),
        memoryview(bytearray(size)),
        array.array("B", bytes(size)),
        array.array("i", bytes(4 * size)),
        memoryview(array.array("d", bytes(8 * size))),
        ctypes.create_string_buffer(size),
        mapped,
    ]


def test_dumps_many_is_dumps_of_each_with_a_newline():
    template = EventTemplate("E", ["text", "number", "x"])
    values = [
        "",
        "a" * 4000,
        '\n"',
        "M\xfcller",
        "\u20ac",
        0,
        -1,
        10**15,
        2**64,
        10**30,
        0.5,
        None,
        True,
        b"\xff",
        SKIP,
    ]
    rows = [(text, number, text) for text in values for number in values]
    assert template.dumps_many(rows) == b"".join(template.dumps(*row) + b"\n" for row in rows)
    assert template.dumps_many(map(list, rows)) == template.dumps_many(rows)
    assert template.dumps_many([]) == b""


@pytest.mark.parametrize(
    ("row", "error", "text"),
    [
        (("a",), SerializeError, "^row 1: E: 2 fields need as many values, not 1$"),
        (("a", {1: 2}), SerializeTypeError, "^row 1: 'y': a member's name must be str, not int$"),
        ("ab", SerializeTypeError, "^row 1: a row must be a tuple or a list of values, not str$"),
    ],
)
def test_dumps_many_names_the_bad_row(row, error, text):
    with pytest.raises(error, match=text):
        EventTemplate("E", ["x", "y"]).dumps_many([("a", "b"), row])


@pytest.mark.parametrize("target", targets(100), ids=lambda target: type(target).__name__)
@pytest.mark.parametrize("offset", [0, 1, 30])
def test_dumps_into_writes_at_the_offset(target, offset):
    assert TEMPLATE.dumps_into(target, "value", offset=offset) == len(EVENT)
    assert bytes(target)[offset : offset + len(EVENT)] == EVENT


@pytest.mark.parametrize("offset", [0, 7])
def test_dumps_into_an_exact_fit(offset):
    target = bytearray(b"#" * (offset + len(EVENT)))
    assert TEMPLATE.dumps_into(target, "value", offset=offset) == len(EVENT)
    assert target == b"#" * offset + EVENT


@pytest.mark.parametrize("room", [0, 1, len(EVENT) - 1])
def test_dumps_into_too_small_a_buffer_leaves_what_is_before_the_offset(room):
    whole = bytearray(b"#" * 200)
    with pytest.raises(BufferError, match=f"the event has {len(EVENT)} bytes, .* offset 10 on {room}$"):
        TEMPLATE.dumps_into(memoryview(whole)[: 10 + room], "value", offset=10)
    assert whole[:10] == b"#" * 10
    assert whole[10 + room :] == b"#" * (190 - room)


@pytest.mark.parametrize("offset", [-1, 101, sys.maxsize, -sys.maxsize])
def test_dumps_into_refuses_an_offset_outside_the_buffer(offset):
    target = bytearray(100)
    with pytest.raises(ValueError, match=f"offset {offset} is outside the buffer of 100 bytes"):
        TEMPLATE.dumps_into(target, "value", offset=offset)
    assert target == bytes(100)


@pytest.mark.parametrize(
    ("target", "error"),
    [
        (bytes(100), BufferError),
        (memoryview(bytearray(100)).toreadonly(), BufferError),
        (memoryview(bytearray(200))[::2], BufferError),
        ("x" * 100, TypeError),
        (None, TypeError),
    ],
)
def test_dumps_into_needs_a_writable_contiguous_buffer(target, error):
    with pytest.raises(error):
        TEMPLATE.dumps_into(target, "value")


def test_dumps_into_leaves_the_buffer_unlocked():
    target = bytearray(100)
    TEMPLATE.dumps_into(target, "value")
    with pytest.raises(BufferError):
        TEMPLATE.dumps_into(target, "value", offset=100)
    target.clear()


# Copies, threads, re-entrancy


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickling(protocol):
    def again(value):
        return pickle.loads(pickle.dumps(value, protocol))

    template = again(EventTemplate("E", ["a", "é"], invalid="latin-1"))
    assert (template.method, template.fields, template.invalid) == ("E", ("a", "é"), "latin-1")
    assert template.dumps(1, b"\xff") == HEAD + ',"params":{"a":1,"é":"ÿ"}}'.encode()
    assert again(RawJSON(b"[1]")).data == b"[1]"
    assert again(SKIP) is SKIP


def test_copying():
    assert copy.copy(SKIP) is copy.deepcopy(SKIP) is SKIP
    assert repr(SKIP) == "SKIP"
    assert copy.deepcopy(TEMPLATE).dumps("value") == EVENT
    assert copy.deepcopy(RawJSON(b"[1]")).data == b"[1]"


def test_threads_do_not_mix_their_events():
    template = EventTemplate("E", ["a", "b", "c"])
    start = threading.Barrier(8)
    wrong = []

    def work(number):
        values = (str(number) * (50 * number), [number, b""], "é" * number)
        expected = {"a": values[0], "b": [number, ""], "c": values[2]}
        target = bytearray(5000)
        start.wait()
        for _ in range(500):
            size = template.dumps_into(target, *values)
            for text in (template.dumps(*values), dumps("E", expected), target[:size]):
                if json.loads(text)["params"] != expected:
                    wrong.append(text)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


class Inner(dict):
    """A mapping that serializes events of its own while it is serialized."""

    def items(self):
        inner = dumps("IN", ["x" * 10_000])
        assert inner == b'{"jsonrpc":"2.0","method":"IN","params":["' + b"x" * 10_000 + b'"]}'
        assert TEMPLATE.dumps("value") == EVENT
        return super().items()


def test_values_may_serialize_events_while_they_are_serialized():
    inner = Inner(k=b"v")
    assert value_text(inner) == b'{"k":"v"}'
    assert value_text([inner, [inner]]) == b'[{"k":"v"},[{"k":"v"}]]'
    assert dumps("E", inner) == HEAD + b',"params":{"k":"v"}}'
    pairs = ((str(i), len(dumps("IN", [i]))) for i in range(3))
    assert dumps("E", params_pairs=pairs) == HEAD + b',"params":{"0":44,"1":44,"2":44}}'


def test_value_may_resize_the_target_buffer():
    target = bytearray(100)

    class Shrinking(dict):
        def items(self):
            target.clear()
            return super().items()

    with pytest.raises(BufferError, match="offset 0 on 0"):
        TEMPLATE.dumps_into(target, Shrinking(k=b"v"))


def test_value_may_change_its_container():
    values = []

    class Emptying(dict):
        def items(self):
            values.clear()
            return [("k", "v")]

    values += [b"first", Emptying(k=b"v"), b"last"]
    assert dumps("E", [values]) == HEAD + b',"params":[["first",{"k":"v"}]]}'
    values += [b"first", Emptying(k=b"v"), b"last"]
    assert dumps("E", values) == HEAD + b',"params":["first",{"k":"v"}]}'


def test_error_of_a_values_own_code_comes_through():
    class Failing(dict):
        def items(self):
            raise LookupError("mine")

    for call in (lambda: value_text(Failing(k=b"")), lambda: dumps("E", Failing(k=1))):
        with pytest.raises(LookupError, match="mine"):
            call()
    assert TEMPLATE.dumps("value") == EVENT
