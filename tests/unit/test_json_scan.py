"""The scan of JSON messages and the splitter of streams: against Python's json, on tables, mutated and random bytes."""

import json
from array import array

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pykafkaevt import dumps
from pykafkaevt.jsonrpc.scan import scan_event
from pykafkaevt.jsonrpc.stream import Splitter

DEPTH = 128
KEYS = ("callid", "call_id", "Call-ID")
REASONS = {"empty", "syntax", "not_utf8", "not_object", "trailing", "too_deep", "no_method", "bad_method"}

EVENT = dumps(
    "E_SIP",
    {
        "method": "INVITE",
        "callid": "a84b4c76e66710@pc33.atlanta.com",
        "display": 'é "A\\" 😀\n',
        "codes": [0, -1.5e-3, True, False, None, {}, []],
        "time": 1790000000000000,
    },
)


def refuse(constant):
    raise ValueError(constant)


def value_of(text):
    """A value as a key shows it: strings with U+FFFD for lone surrogates, numbers as they are written, else None."""
    if isinstance(text, Number):
        return str(text)
    if isinstance(text, str):
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return None


class Number(str):
    __slots__ = ()


class Members(list):
    """An object's members as (name, value), duplicates too."""

    def first(self, name):
        return next((value for key, value in self if value_of(key) == name), None)

    def has(self, name):
        return any(value_of(key) == name for key, _ in self)


def parsed(data):
    """What Python's json reads, without its extensions and its limits on numbers."""
    return json.loads(
        data.decode(),
        object_pairs_hook=Members,
        parse_int=Number,
        parse_float=Number,
        parse_constant=refuse,
    )


def depth_of(value):
    if isinstance(value, Members):
        return 1 + max((depth_of(item) for _, item in value), default=0)
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


def reference(data, plain):
    """(method, key) as scan_event() finds them, or None for what it refuses."""
    try:
        message = parsed(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, Members) or depth_of(message) > DEPTH:
        return None
    members, method = message, None
    if not plain:
        if not isinstance(message.first("method"), str) or isinstance(message.first("method"), Number):
            return None
        method = value_of(message.first("method"))
        members = message.first("params")
        if not method:
            return None
    found = (members.first(name) for name in KEYS) if isinstance(members, Members) else ()
    return method, next((value_of(value) for value in found if value_of(value) is not None), None)


def scanned(data, plain):
    try:
        found = scan_event(data, key_fields=KEYS, time_field="time", plain=plain)
    except ValueError as error:
        return None if str(error) in REASONS else f"undocumented: {error}"
    return found["method"], found["key"]


def reason_of(data, **options):
    with pytest.raises(ValueError, match=r"^[a-z_0-9]+$") as caught:
        scan_event(data, **options)
    return str(caught.value)


def exactly(data):
    """The data in memory that ends with it: a sanitizer or a wall sees one byte too many."""
    return memoryview(array("B", data))


# ---- what routes an event


def test_an_event_gives_method_id_key_and_time():
    assert scan_event(EVENT, key_fields=KEYS, time_field="time") == {
        "method": "E_SIP",
        "id": None,
        "key": "a84b4c76e66710@pc33.atlanta.com",
        "time": b"1790000000000000",
    }


def event(params, rest=""):
    return f'{{"jsonrpc":"2.0","method":"E","params":{params}{rest}}}'.encode()


@pytest.mark.parametrize(
    ("data", "key"),
    [
        (event('{"callid":"a"}'), "a"),
        (event('{"Call-ID":"c","call_id":"b","callid":"a"}'), "a"),
        (event('{"Call-ID":"c","call_id":"b"}'), "b"),
        (event('{"callid":"first","callid":"second"}'), "first"),
        (event('{"callid":null,"callid":"second","call_id":"b"}'), "b"),
        (event('{"callid":true,"call_id":[1],"Call-ID":{"callid":"x"}}'), None),
        (event('{"nested":{"callid":"inner"},"list":[{"callid":"inner"}]}'), None),
        (event('{"callid":-12.50e+3}'), "-12.50e+3"),
        (event('{"callid":""}'), ""),
        (event('{"callid":"' + "x" * 5000 + '"}'), "x" * 5000),
        (event(r'{"callid":"\"\\\/\b\f\n\r\t\u0041\u00e9\u20AC\ud83D\uDE00"}'), '"\\/\b\f\n\r\tAé€😀'),
        (event(r'{"callid":"\ud800x\udc00\ud800\ud83d\ude00\udfff\ud800"}'), "\ufffdx\ufffd\ufffd😀\ufffd\ufffd"),
        (event('{"callid":"значение é€😀"}'), "значение é€😀"),
        (event('["callid"]'), None),
        (event("null"), None),
        (event('{"x":1}', ',"callid":"outside"'), None),
        (event('{"x":1}', ',"params":{"callid":"second params"}'), None),
        (event("1", ',"params":{"callid":"second params"}'), None),
        (b'{"params":{"callid":"a"},"id":1,"method":"E"}', "a"),
    ],
)
def test_the_key_is_the_first_named_string_or_number_of_params(data, key):
    assert scan_event(data, key_fields=KEYS)["key"] == key
    assert scanned(data, False) == reference(data, False) == ("E", key)


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("callid", r"call\u0069d"),
        ("callid", r"\u0063\u0061\u006C\u006c\u0069\u0064"),
        ("Call-ID", r"Call\u002dID"),
        ("a/b", r"a\/b"),
        ("é€😀", r"\u00e9\u20ac\ud83d\ude00"),
        ("é€😀", "é\\u20ac😀"),
        ("", ""),
    ],
)
def test_a_name_with_escapes_is_the_name_it_stands_for(name, written):
    found = scan_event(event(f'{{"{written}":"k"}}'), key_fields=[name], time_field=name)
    assert (found["key"], found["time"]) == ("k", b'"k"')


@pytest.mark.parametrize(
    "written", [r"call\u0069", r"call\u0069dd", r"call\u0069\u0000", r"call\u00e9d", "Callid", r"\n"]
)
def test_another_name_is_no_key(written):
    assert scan_event(event(f'{{"{written}":"k"}}'), key_fields=["callid"])["key"] is None


def test_members_of_the_event_may_be_written_with_escapes():
    data = rb'{"\u006dethod":"E\u0031","param\u0073":{"callid":1},"i\u0064":[ 7 ]}'
    assert scan_event(data, key_fields=KEYS) == {"method": "E1", "id": b"[ 7 ]", "key": "1", "time": None}


@pytest.mark.parametrize("value", ['"a\\u0041"', '""', "0", "-1.5E3", "true", "false", "null", '{"a":[1]}', "[ ]"])
def test_id_and_time_are_the_text_of_any_value(value):
    found = scan_event(event(f'{{"time" : {value} , "time":2}}', f',"id" : {value},"id":2'), time_field="time")
    assert found["id"] == found["time"] == value.encode()


@pytest.mark.parametrize("method", ['"' + "m" * 255 + '"', '"é"', r'"\n"'])
def test_a_method_has_1_to_255_bytes(method):
    assert scan_event(f'{{"method":{method}}}'.encode())["method"] == json.loads(method)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b" \t\r\n", "empty"),
        (b"{", "syntax"),
        (b"INVITE sip:bob@biloxi.com SIP/2.0\r\n", "syntax"),
        (b"\xef\xbb\xbf{}", "syntax"),
        (b'{"method":"E"}\0', "trailing"),
        (b'{"method":"E"}{"method":"E"}', "trailing"),
        (b"1 2", "trailing"),
        (b'[{"method":"E"}]', "not_object"),
        (b'"text"', "not_object"),
        (b"null", "not_object"),
        (b'{"method":"\xff"}', "not_utf8"),
        (b"\x80", "not_utf8"),
        (b"{}", "no_method"),
        (b'{"params":{"method":"E"}}', "no_method"),
        (b'{"method":null}', "bad_method"),
        (b'{"method":1}', "bad_method"),
        (b'{"method":""}', "bad_method"),
        (b'{"method":"","method":"E"}', "bad_method"),
        (b'{"method":"' + b"m" * 256 + b'"}', "bad_method"),
    ],
)
def test_a_refused_message_names_its_reason(data, reason):
    assert reason_of(data) == reason


def test_plain_takes_any_object_and_looks_at_its_own_members():
    data = b'{"method":1,"callid":"a","time":2,"params":{"call_id":"b"},"id":3}'
    expected = {"method": None, "id": None, "key": "a", "time": b"2"}
    assert scan_event(data, key_fields=KEYS, time_field="time", plain=True) == expected
    assert scan_event(b" {} ", plain=True) == dict.fromkeys(expected)
    assert reason_of(b"[]", plain=True) == "not_object"


def test_64_key_fields_are_the_most():
    fields = [f"k{i}" for i in range(64)]
    assert scan_event(event('{"k63":1}'), key_fields=fields)["key"] == "1"
    with pytest.raises(ValueError, match="more than 64 key fields"):
        scan_event(EVENT, key_fields=[*fields, "k64"])


# ---- the grammar

VALUES = [
    *("0", "-0", "10", "1.5", "-1.0e5", "1E+9", "1e-0", "9" * 5000, "1" + "0" * 400 + ".5"),
    *("true", "false", "null", '""', '"\x7f"', r'"\u0000"', '"' + "a" * 15 + '"', '"' + "é" * 40 + '"'),
    *("[]", "[ ]", "[1]", "[1,2]", "[[],{}]", "{}", '{"":{}}', '{"a":1,"a":2}', "\t[\r\n1 , 2 ]\n"),
]
NO_VALUES = [
    *("NaN", "Infinity", "-Infinity", "nul", "nulll", "True", "tru", "undefined", "'a'", "a"),
    *("-", "+1", "01", "-01", "1.", ".5", "1.e5", "1e", "1e+", "0x10", "1_0", "- 1", "--1", "1 2", "٣"),
    *('"', '"a', '"\n"', '"\t"', '"\0"', '"\x1f"', '"' + "a" * 20 + "\x01" + '"', '"\\"', r'"\x41"', r'"\u12"'),
    *(r'"\u123g"', r'"\u 123"', r'"\u+123"', r'"\U0041"', '"\\\n"', '"a"b"'),
    *("[", "]", "[1", "[1,", "[1,]", "[,1]", "[,]", "[1 2]", "[1}", "[[1]", "[1]]", "[:]", '["a":1]'),
    *("{", "}", '{"a"', '{"a":', '{"a":}', '{"a":1', '{"a":1,', '{"a":1,}', "{,}", "{1:2}", "{a:1}", '{"a" 1}'),
    *(
        '{"a":1 "b":2}',
        '{"a"::1}',
        '{"a":1]',
        '{"a":1}}',
        "{{}}",
        "/**/1",
        "1//",
        "\x0b1",
        "\x0c1",
        "\u00a01",
        "\u20281",
    ),
]


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("form", ['{{"v":{}}}', '{{"a":[{{"v":[{}]}},1]}}', '{{"method":"E","params":{{"v":{}}}}}'])
def test_json_is_taken_wherever_it_stands(form, value):
    data = form.format(value).encode()
    assert parsed(data)
    assert scan_event(exactly(data), plain=True)["key"] is None
    assert scanned(data, False) == reference(data, False)


@pytest.mark.parametrize("value", NO_VALUES)
@pytest.mark.parametrize("form", ['{{"v":{}}}', '{{"a":[{{"v":[{}]}},1]}}', '{{"method":"E","params":{{"v":{}}}}}'])
def test_what_is_no_json_is_a_syntax_error_wherever_it_stands(form, value):
    data = form.format(value).encode()
    assert reason_of(exactly(data), plain=True) in {"syntax", "trailing"}
    assert reason_of(exactly(data)) in {"syntax", "trailing"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"a":' * 127, "}" * 127),
        ('{"a":' + "[" * 126, "]" * 126 + "}"),
        ('{"params":' * 127, "}" * 127),
        ('{"params":{"callid":' + '[{"a":' * 62 + "[", "]" + "}]" * 62 + "}}"),
    ],
)
@pytest.mark.parametrize(("deepest", "deeper"), [("[]", "[[]]"), ("{}", '{"a":{}}'), ("[]", "[1,{}]")])
def test_128_levels_are_the_most(before, after, deepest, deeper):
    taken = f"{before}{deepest}{after}".encode()
    assert depth_of(parsed(taken)) == DEPTH
    assert reason_of(taken) == "no_method"
    assert reason_of(f"{before}{deeper}{after}".encode()) == "too_deep"


@pytest.mark.parametrize("bracket", ["[", '{"a":'])
def test_a_million_brackets_are_too_deep(bracket):
    assert reason_of(bracket.encode() * 1_000_000) == "too_deep"
    assert reason_of(b'{"method":"E","params":' + bracket.encode() * 1_000_000) == "too_deep"


@pytest.mark.parametrize(
    "octets",
    [
        b"\x80",
        b"\xc0\xaf",
        b"\xc3",
        b"\xe0\x80\xaf",
        b"\xed\xa0\x80",
        b"\xf0\x80\x80\x80",
        b"\xf4\x90\x80\x80",
        b"\xff",
    ],
)
@pytest.mark.parametrize("before", range(18))
def test_invalid_utf8_is_refused_anywhere_in_a_string(octets, before):
    assert reason_of(b'{"method":"E","params":{"' + b"a" * before + octets + b'":1}}') == "not_utf8"
    assert reason_of(b'{"method":"' + b"a" * before + octets + b'abcdefghijklmnopqrstuvwxyz"}') == "not_utf8"


def test_every_cut_of_an_event_is_refused():
    for size in range(len(EVENT)):
        assert reason_of(exactly(EVENT[:size])) in {"empty", "syntax", "not_utf8"}


def test_every_byte_in_every_place_of_an_event_is_judged_as_python_judges_it():
    for at in range(0, len(EVENT), 3):
        for byte in b'\0\t\n "\\,:[]{}0-e.tn\x7f\x80\xc3\xff':
            data = EVENT[:at] + bytes((byte,)) + EVENT[at + 1 :]
            assert scanned(exactly(data), False) == reference(data, False), data


@st.composite
def mutated_events(draw):
    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from([*KEYS, "time"]), inner),
        max_leaves=8,
    )
    params = st.dictionaries(st.sampled_from([*KEYS, "time", "x"]) | st.text(), values)
    message = {"method": draw(st.sampled_from(["E_SIP", "", "é\n"]) | values), "params": draw(params | values)}
    data = bytearray(json.dumps(message, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass"))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        piece = st.sampled_from(
            [b'"', b"\\", b"\\u00", b",", b"{", b"}", b"[", b"]", b":", b"0", b"-", b"e", b" ", b"\n"]
        )
        data[at : at + draw(st.integers(0, 2))] = draw(piece | st.binary(max_size=3))
    return bytes(data)


@given(data=mutated_events() | st.binary(max_size=60), plain=st.booleans())
@example(data=b'{"method":"E","params":{"callid":NaN}}', plain=False)
def test_what_is_taken_and_found_is_what_pythons_json_says(data, plain):
    assert scanned(exactly(data), plain) == reference(data, plain)


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_a_key_of_any_text_comes_back(text):
    """Written with escapes only, and with none but the required ones."""
    expected = value_of(text)
    assert scan_event(event(json.dumps({"callid": text})), key_fields=KEYS)["key"] == expected
    data = event(json.dumps({"callid": expected}, ensure_ascii=False))
    assert scan_event(exactly(data), key_fields=KEYS)["key"] == expected


# ---- the splitter

GOOD = [b'{"a":{"b":["}{\\"",1]}}', EVENT, b'{\n  "a": 1\n}', b"{}", b'{"s":"\\\\"}']


def split(pieces, limit=65536):
    splitter = Splitter(limit)
    return [item for piece in pieces for item in splitter.feed(piece)] + splitter.finish()


def cuts(data):
    """The data whole, cut in two at every position, and byte by byte."""
    yield [data]
    for at in range(1, len(data)):
        yield [data[:at], data[at:]]
    yield [data[at : at + 1] for at in range(len(data))]


@pytest.mark.parametrize("between", [b"", b"\n", b"\r\n", b" \t\n\n"])
def test_objects_back_to_back_or_on_lines_are_the_same_for_every_cut(between):
    for pieces in cuts(between.join([b"", *GOOD, b""])):
        assert split(pieces) == [(text, None) for text in GOOD]


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", []),
        (b" \n\t", []),
        (b"hello\n{}", [(b"hello", "garbage"), (b"{}", None)]),
        (b"hello {}\r\nbye", [(b"hello ", "garbage"), (b"{}", None), (b"bye", "garbage")]),
        (b"one\ntwo\n\n", [(b"one", "garbage"), (b"two", "garbage")]),
        (b"[{},{}]", [(b"[", "garbage"), (b"{}", None), (b",", "garbage"), (b"{}", None), (b"]", "garbage")]),
        (b"}}{}", [(b"}}", "garbage"), (b"{}", None)]),
        (b"\xff\0" * 100 + b"\n", [((b"\xff\0" * 100)[:128], "garbage")]),
        (b'{"a":', [(b'{"a":', "truncated")]),
        (b'{}{"a":"\\', [(b"{}", None), (b'{"a":"\\', "truncated")]),
        (b'{"a":"b}\n{"c":1}\n', [(b'{"a":"b}', "garbage"), (b'{"c":1}', None)]),
        (b'{"a":"b\\\n{"c":1}\n', [(b'{"a":"b\\', "garbage"), (b'{"c":1}', None)]),
        (b"{not json}", [(b"{not json}", None)]),
        (b"{]]}", [(b"{]]}", None)]),
    ],
)
def test_what_a_stream_gives_is_the_same_for_every_cut(data, found):
    for pieces in cuts(data):
        assert split(pieces) == found


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b'{"1234567890":1}{}', [(b'{"1234567890":1}', None), (b"{}", None)]),
        (b'{"12345678901":1}{}', [(b'{"12345678901":1', "too_large"), (b"{}", None)]),
        (b'{"a":{"b":["}{\\"", 1, 2, 3]}}{}', [(b'{"a":{"b":["}{\\"', "too_large"), (b"{}", None)]),
        (b'{"a":"bcdefghijklmnop}\n{}', [(b'{"a":"bcdefghijk', "too_large"), (b"{}", None)]),
        (b'{"a":"bcdefghijklmnop', [(b'{"a":"bcdefghijk', "too_large")]),
        (b"garbage of more than 16 bytes\n{}", [(b"garbage of more ", "garbage"), (b"{}", None)]),
    ],
)
def test_what_is_too_large_for_a_limit_of_16_is_the_same_for_every_cut(data, found):
    for pieces in cuts(data):
        assert split(pieces, limit=16) == found


def test_an_object_that_is_too_large_is_counted_once_and_not_held():
    splitter = Splitter(1000)
    found = splitter.feed(b'{"a":"')
    for _ in range(2000):
        found += splitter.feed(b"x" * 100)
    assert found == [(b'{"a":"' + b"x" * 122, "too_large")]
    assert splitter.feed(b'"} {"b":1}') == [(b'{"b":1}', None)]
    assert splitter.finish() == []


def test_finish_makes_the_splitter_as_new():
    splitter = Splitter(10)
    for start in (b'{"a":"\\', b"garbage", b'{"a":"xxxxxxxxxxxxxxxxx', b"{{{"):
        splitter.feed(start)
        splitter.finish()
        assert splitter.feed(b"{}") == [(b"{}", None)]
        assert splitter.finish() == []


def test_a_limit_below_two_bytes_is_refused():
    with pytest.raises(ValueError, match="limit must be 2 bytes or more"):
        Splitter(1)


@given(st.lists(mutated_events() | st.binary(max_size=20), max_size=5), st.lists(st.integers(1, 40), min_size=1))
def test_any_bytes_cut_anywhere_give_the_same_and_lose_no_object(texts, sizes):
    data, pieces, at = b"\n".join(texts), [], 0
    while at < len(data):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(data[at : at + size])
        at += size
    assert split(pieces, 50) == split([data], 50)
    assert split(pieces) == split([data])
    assert all(reason in {None, "garbage", "truncated"} for _, reason in split(pieces))
