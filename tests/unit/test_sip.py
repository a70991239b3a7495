"""The SIP headers we read, against RFC 3261's rules and the forms of RFC 4475 (torture tests)."""

import array
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykafkaevt.sip.message import SipHeaders, call_id, headers

INVITE = b"INVITE sip:bob@biloxi.com SIP/2.0\r\n"

RFC3261_INVITE = (
    b"INVITE sip:bob@biloxi.com SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bK776asdhds\r\n"
    b"Max-Forwards: 70\r\n"
    b"To: Bob <sip:bob@biloxi.com>\r\n"
    b"From: Alice <sip:alice@atlanta.com>;tag=1928301774\r\n"
    b"Call-ID: a84b4c76e66710@pc33.atlanta.com\r\n"
    b"CSeq: 314159 INVITE\r\n"
    b"Contact: <sip:alice@pc33.atlanta.com>\r\n"
    b"User-Agent: Softphone Beta1.5\r\n"
    b"Content-Type: application/sdp\r\n"
    b"Content-Length: 4\r\n"
    b"\r\n"
    b"v=0\n"
)

# RFC 4475, 3.1.1.1: unusual white space
WSINV = b"""\
INVITE sip:vivekg@chair-dnrc.example.com;unknownparam SIP/2.0\r
TO :\r
 sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n\r
from   : "J Rosenberg \\\\\\""       <sip:jdrosen@example.com>\r
  ;\r
  tag = 98asjd8\r
MaX-fOrWaRdS: 0068\r
Call-ID: wsinv.ndaksdj@192.0.2.1\r
Content-Length   : 150\r
cseq: 0009\r
  INVITE\r
Via  : SIP  /   2.0\r
 /UDP\r
    192.0.2.2;branch=390skdjuw\r
s :\r
NewFangledHeader:   newfangled value\r
 continued newfangled value\r
\r
v=0\r
"""

# RFC 4475, 3.1.1.2: the widest characters a method, a URI and a Call-ID may have
INTMETH = b"""\
!interesting-Method0123456789_*+`.%indeed'~ sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*\
:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com SIP/2.0\r
Via: SIP/2.0/TCP host1.example.com;branch=z9hG4bK-.!%66*_+`'~\r
To: "BEL:\\\x07 NUL:\\\x00 DEL:\\\x7f" <sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*@example.com>\r
From: token1~` token2'+_ token3*%!.- <sip:mundane@example.com>;fromParam''~+*_!.-%="\xd1\x80"\r
 ;tag=_token~1'+`*%!-.\r
Call-ID: intmeth.word%ZK-!.*_+'@word`~)(><:\\/"][?}{\r
CSeq: 139122385 !interesting-Method0123456789_*+`.%indeed'~\r
\r
"""


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (b"Call-ID: a84b4c76e66710@pc33.atlanta.com\r\n", "a84b4c76e66710@pc33.atlanta.com"),
        (b"CALL-ID: a@b\r\n", "a@b"),
        (b"call-id: a@b\r\n", "a@b"),
        (b"i: a@b\r\n", "a@b"),
        (b"I: a@b\r\n", "a@b"),
        (b"Call-ID:a@b\r\n", "a@b"),
        (b"Call-ID \t: a@b\r\n", "a@b"),
        (b"i\t:\t a@b\r\n", "a@b"),
        (b"Call-ID: a@b \t \r\n", "a@b"),
        (b"Call-ID:\r\n a@b\r\n", "a@b"),
        (b"Call-ID:\r\n \r\n\t a@b\r\n", "a@b"),
        (b"Call-ID: a@b\r\n\t\r\nTo: x\r\n", "a@b"),
        (b"Call-ID: a\r\n  b\r\n", "a b"),
        (b"Call-ID: a \r\n\t\r\n b\n c\r\n", "a b c"),
        (b"Call-ID: a@b\n", "a@b"),
        (b"Via: x\nCall-ID:\n a@b\nTo: y\n\n", "a@b"),
        (b"Via: SIP/2.0/UDP h\r\n ;branch=z\r\nCall-ID: a@b\r\n", "a@b"),
        (b"Call-ID: first\r\nCall-ID: second\r\n", "first"),
        (b"i: first\r\nCall-ID: second\r\n", "first"),
        (b'Call-ID: a:b;c=d, "e"\r\n', 'a:b;c=d, "e"'),
        (b"Call-ID: a\x00b\r\n", "a\x00b"),
        (b"Call-ID: \xd0\xb4@b\r\n", "д@b"),
        (b"Call-ID: \xff\xfe@b\r\n", "\ufffd\ufffd@b"),
        (b"not a header\r\n: nor this\r\nCall-ID: a@b\r\n", "a@b"),
    ],
)
def test_call_id_is_the_first_header_of_that_name_unfolded_and_stripped(lines, expected):
    assert call_id(INVITE + lines + b"\r\n") == expected


@pytest.mark.parametrize(
    "lines",
    [
        b"",
        b"Via: x\r\n",
        b"Call-ID:\r\n",
        b"Call-ID:  \t\r\n",
        b"Call-ID: \r\n \r\nTo: x\r\n",
        b"Call-ID: \r\nCall-ID: second\r\n",
        b"X-Call-ID: a\r\n",
        b"Call-IDs: a\r\n",
        b"Call ID: a\r\n",
        b"Call\rID: a\r\n",
        b"Call-ID a\r\n",
        b" Call-ID: a\r\n",
        b"Subject: x\r\n Call-ID: a\r\n",
        b"ii: a\r\n",
        b"\r\nCall-ID: in the body\r\n",
        b"\nCall-ID: in the body\r\n",
    ],
)
def test_no_call_id_is_none(lines):
    assert call_id(INVITE + lines + b"\r\n") is None


@pytest.mark.parametrize(
    "wrap",
    [
        bytes,
        bytearray,
        memoryview,
        bytes.decode,
        lambda m: memoryview(b"xx" + m)[2:],
        lambda m: array.array("B", m),
    ],
    ids=["bytes", "bytearray", "memoryview", "str", "slice of a memoryview", "array"],
)
def test_call_id_reads_bytes_like_and_str(wrap):
    assert call_id(wrap(RFC3261_INVITE)) == "a84b4c76e66710@pc33.atlanta.com"
    assert headers(wrap(RFC3261_INVITE)) == headers(RFC3261_INVITE)


@pytest.mark.parametrize("message", [None, 1, 1.5, ["Call-ID: a"], {"Call-ID": "a"}, object()])
@pytest.mark.parametrize("function", [call_id, headers])
def test_other_types_are_refused(function, message):
    with pytest.raises(TypeError):
        function(message)


def test_a_str_may_hold_any_character():
    assert (
        call_id("X sip:a SIP/2.0\r\nSubject: \ud800\r\nCall-ID: é\udcff\U0001f4de\r\n\r\n") == "é" + "\ufffd" * 3 + "📞"
    )


def test_a_message_without_its_start_line_has_a_call_id():
    # message/sipfrag (RFC 3420) and headers alone, as a script may hand them over
    assert call_id(b"Call-ID: a@b\r\nCSeq: 1 INVITE\r\n") == "a@b"


def test_line_ends_before_the_start_line_are_ignored():
    assert call_id(b"\r\n\r\n" + RFC3261_INVITE) == "a84b4c76e66710@pc33.atlanta.com"
    assert headers(b"\r\n\r\n" + RFC3261_INVITE) == headers(RFC3261_INVITE)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            RFC3261_INVITE,
            SipHeaders(
                method="INVITE",
                uri="sip:bob@biloxi.com",
                status=None,
                reason=None,
                call_id="a84b4c76e66710@pc33.atlanta.com",
                cseq=314159,
                cseq_method="INVITE",
                from_uri="sip:alice@atlanta.com",
                to_uri="sip:bob@biloxi.com",
                user_agent="Softphone Beta1.5",
            ),
        ),
        (
            b'SIP/2.0 180 Ringing\nf: sip:a@h;tag=1\nt: "B" <sips:b@h;user=phone>;tag=2\ni: c\nCSEQ: 1 INVITE\n\n',
            SipHeaders(None, None, 180, "Ringing", "c", 1, "INVITE", "sip:a@h", "sips:b@h;user=phone", None),
        ),
        (
            WSINV,
            SipHeaders(
                "INVITE",
                "sip:vivekg@chair-dnrc.example.com;unknownparam",
                None,
                None,
                "wsinv.ndaksdj@192.0.2.1",
                9,
                "INVITE",
                "sip:jdrosen@example.com",
                "sip:vivekg@chair-dnrc.example.com",
                None,
            ),
        ),
        (
            INTMETH,
            SipHeaders(
                "!interesting-Method0123456789_*+`.%indeed'~",
                "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"
                ":&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com",
                None,
                None,
                "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{",
                139122385,
                "!interesting-Method0123456789_*+`.%indeed'~",
                "sip:mundane@example.com",
                "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*@example.com",
                None,
            ),
        ),
        (b"OPTIONS sip:h SIP/2.0", SipHeaders("OPTIONS", "sip:h", *[None] * 8)),
    ],
    ids=["RFC 3261 INVITE", "compact forms", "RFC 4475 wsinv", "RFC 4475 intmeth", "start line alone"],
)
def test_headers(message, expected):
    assert headers(message) == expected


@pytest.mark.parametrize(
    ("line", "method", "uri"),
    [
        (
            b"OPTIONS sip:user;par=u%40example.net@example.com SIP/2.0",
            "OPTIONS",
            "sip:user;par=u%40example.net@example.com",
        ),
        (b"INVITE  sip:u@h  SIP/2.0", "INVITE", "sip:u@h"),
        (b"INVITE sip:u@h SIP/2.0  ", "INVITE", "sip:u@h"),
        (b"INVITE sip:u@h; lr SIP/2.0", "INVITE", "sip:u@h; lr"),
        (b"INVITE <sip:u@h> SIP/2.0", "INVITE", "<sip:u@h>"),
        (b"INVITE tel:+15551234567 sip/2.0", "INVITE", "tel:+15551234567"),
        (b"REGISTER sip:\xff SIP/2.0", "REGISTER", "sip:\ufffd"),
    ],
)
def test_request_lines(line, method, uri):
    found = headers(line + b"\r\n\r\n")
    assert (found.method, found.uri, found.status, found.reason) == (method, uri, None, None)


@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        (b"SIP/2.0 200 OK", 200, "OK"),
        (b"SIP/2.0 100 ", 100, None),
        (b"SIP/2.0 100", 100, None),
        (b"sip/2.0 699 x", 699, "x"),
        (b"SIP/2.0 200 = 2**3 * 5**2 \xd0\xbd\xd0\xbe", 200, "= 2**3 * 5**2 но"),
    ],
)
def test_status_lines(line, status, reason):
    found = headers(line + b"\r\n\r\n")
    assert (found.method, found.uri, found.status, found.reason) == (None, None, status, reason)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\r\n",
        b"\r\n\r\n",
        b"\x00\x00\x00\x00",
        b"SIP/2.0",
        b"SIP/2.0 ",
        b"SIP/2.0 OK",
        b"SIP/2.0 20",
        b"SIP/2.0 2000 OK",
        b"SIP/2.0 099 x",
        b"SIP/2.0 700 x",
        b"SIP/2.0 4294967301 better not break the receiver",
        b"INVITE",
        b"INVITE SIP/2.0",
        b"INVITE sip:u@h",
        b"INVITE sip:u@h SIP/7.0",
        b"INVITE sip:u@h SIP/2.0x",
        b"Call-ID:a b SIP/2.0",
        b"i : a SIP/2.0",
        b"GET / HTTP/1.1\r\nCall-ID: a\r\n\r\n",
        b"Via: SIP/2.0/UDP h\r\nINVITE sip:u@h SIP/2.0\r\n",
    ],
)
def test_what_is_no_sip_message_has_no_headers(message):
    assert headers(message) is None


@pytest.mark.parametrize(
    ("value", "uri"),
    [
        (b"sip:a@h", "sip:a@h"),
        (b"sip:a@h;tag=1", "sip:a@h"),
        (b"sip:a@h ;tag=1", "sip:a@h"),
        (b'sip:a@h;tag="<sip:b@h>"', "sip:a@h"),
        (b"tel:+1-212-555-1212;tag=1", "tel:+1-212-555-1212"),
        (b"<sip:a@h;transport=tcp>;tag=1", "sip:a@h;transport=tcp"),
        (b"< sip:a@h >", "sip:a@h"),
        (b"Bell <sip:a@h>", "sip:a@h"),
        (b"A. G. Bell<sip:a@h?x=y>;tag=1", "sip:a@h?x=y"),
        (b'"A; <sip:no@h>" <sip:a@h>;tag=1', "sip:a@h"),
        (b'"quote \\" <sip:no@h>" <sip:a@h>', "sip:a@h"),
        (b'"backslash \\\\" <sip:a@h>', "sip:a@h"),
        (b'"folded\r\n name"\r\n <sip:a@h>', "sip:a@h"),
        (b'"" <sip:a@h>', "sip:a@h"),
        (b'"Mr. J. User <sip:a@h>', None),
        (b'"ends in a backslash \\', None),
        (b'"name" sip:a@h', None),
        (b"Bell sip:a@h", None),
        (b"<sip:a@h", None),
        (b"<>", None),
        (b"bell;tag=sip:1", None),
        (b"", None),
    ],
)
@pytest.mark.parametrize(
    ("name", "field"), [(b"From", "from_uri"), (b"f", "from_uri"), (b"TO", "to_uri"), (b"t", "to_uri")]
)
def test_uri_of_an_address(name, field, value, uri):
    found = headers(INVITE + name + b": " + value + b"\r\nCSeq: 7 BYE\r\n\r\n")
    assert getattr(found, field) == uri
    assert found.cseq == 7


@pytest.mark.parametrize(
    ("value", "number", "method"),
    [
        (b"1 INVITE", 1, "INVITE"),
        (b"0 ACK", 0, "ACK"),
        (b"4294967295 BYE", 2**32 - 1, "BYE"),
        (b"0000000000000000000000001 BYE", 1, "BYE"),
        (b"1\t\tBYE", 1, "BYE"),
        (b"1\r\n BYE", 1, "BYE"),
        (b"1", 1, None),
        (b"4294967296 BYE", None, None),
        (b"36893488147419103232 REGISTER", None, None),
        (b"-1 BYE", None, None),
        (b"1BYE", None, None),
        (b"BYE", None, None),
        (b"", None, None),
    ],
)
def test_cseq(value, number, method):
    found = headers(INVITE + b"CSeq: " + value + b"\r\nCSeq: 5 OPTIONS\r\n\r\n")
    assert (found.cseq, found.cseq_method) == (number, method)


def test_the_first_header_of_a_name_counts():
    found = headers(
        INVITE + b"From: <sip:a@1>\r\nf: <sip:a@2>\r\nTo: <sip:b@1\r\nt: <sip:b@2>\r\n"
        b"User-Agent: one\r\nUser-Agent: two\r\n\r\nUser-Agent: three\r\n"
    )
    assert (found.from_uri, found.to_uri, found.user_agent) == ("sip:a@1", None, "one")


@pytest.mark.parametrize("message", [RFC3261_INVITE, WSINV, INTMETH], ids=["RFC 3261", "wsinv", "intmeth"])
def test_a_truncated_message_gives_what_is_there(message):
    whole = headers(message)
    for size in range(len(message)):
        identifier = call_id(message[:size])
        assert identifier is None or whole.call_id.startswith(identifier)
        part = headers(message[:size])
        if part is not None and part.from_uri is not None:
            assert whole.from_uri.startswith(part.from_uri)


def test_nothing_beyond_the_end_is_read():
    padded = RFC3261_INVITE + b"\r\nCall-ID: beyond\r\n"
    for size in range(RFC3261_INVITE.index(b"Call-ID")):
        assert call_id(memoryview(padded)[:size]) is None


def test_long_values_and_many_headers():
    identifier = "x" * 100_000
    message = INVITE + b"Via: y\r\n" * 10_000 + b"Call-ID: " + identifier.encode() + b"\r\n\r\n"
    assert call_id(message) == identifier


def test_headers_can_be_pickled():
    found = headers(RFC3261_INVITE)
    assert pickle.loads(pickle.dumps(found)) == found


# pieces of a message, parted by commas
PIECES = st.sampled_from(
    rb"INVITE sip:a SIP/2.0,SIP/2.0 200 OK,Call-ID,i,CSeq,From,To,User-Agent,1,sip:x,<,>,;".split(b",")
    + [bytes([byte]) for byte in b':"\\ \t\r\n\x00\xff']
    + [b"\r\n", b": "]
)


@given(st.binary())
def test_random_bytes_never_fail(message):
    call_id(message)
    headers(message)
    call_id(bytearray(message))


@given(st.text(st.characters(exclude_categories=())))
def test_random_text_never_fails(message):
    call_id(message)
    headers(message)


@given(st.lists(PIECES | st.binary(max_size=4)).map(b"".join))
def test_broken_messages_never_fail_and_agree(tail):
    message = INVITE + tail
    found = headers(message)
    assert found is None or found.call_id == call_id(message)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), min_size=1))
def test_a_call_id_comes_back(identifier):
    expected = identifier.strip(" \t") or None
    assert call_id(INVITE + b"Call-ID: " + identifier.encode() + b"\r\n\r\n") == expected
