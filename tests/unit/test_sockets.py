"""Kafka sockets: what is accepted, what is refused where, what is equal, and that secrets stay hidden."""

import copy
import json
import pickle
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pykafkaevt.errors import SocketError
from pykafkaevt.sockets import KafkaSocket, is_secret, parse_broker_id, parse_socket

GOLDEN = json.loads((Path(__file__).parent.parent / "data" / "golden_sockets.json").read_text("utf-8"))
SECRET = "hunter2"


@pytest.mark.parametrize("vector", GOLDEN, ids=[vector["socket"] for vector in GOLDEN])
def test_golden_vector(vector):
    expected = vector["pykafkaevt"]
    if not expected["ok"]:
        with pytest.raises(SocketError) as caught:
            parse_socket(vector["socket"])
        assert caught.value.reason == expected["reason"]
        return
    socket = parse_socket(vector["socket"])
    assert socket.brokers == tuple(expected["brokers"])
    assert socket.topic == expected["topic"]
    assert socket.global_properties == expected["global"]
    assert socket.topic_properties == expected["topic_properties"]
    assert socket.key == expected["key"]


@pytest.mark.parametrize(
    ("text", "position", "reason"),
    [
        # prefix and brokers
        ("", 0, "missing brokers"),
        ("/t", 0, "missing brokers"),
        ("?g.a=b", 0, "missing brokers"),
        ("kafka:", 6, "missing brokers"),
        ("kafka:/t", 6, "missing brokers"),
        ("kafka: /t", 6, "missing brokers"),
        ("kafka://h/t", 6, "missing brokers"),
        (",kafka:h/t", 0, "not a kafka socket"),
        ("KAFKA:h:9092/t", 0, "not a kafka socket"),
        ("KAFKA:h/t", 0, "not a kafka socket"),
        ("udp:1.2.3.4:5/x", 0, "not a kafka socket"),
        (" kafka:h/t", 0, "not a kafka socket"),
        ("http://x/y", 0, "not a kafka socket"),
        ("[k1]h:9092/t", 0, "not a kafka socket"),
        ("h:9092,i:j/t", 7, "not host:port"),
        ("kafka:,h/t", 6, "empty broker"),
        ("kafka:h, ,i/t", 8, "empty broker"),
        ("kafka:h,/t", 8, "empty broker"),
        # host and port
        ("kafka:h:1:2/t", 6, "not host:port"),
        ("kafka:a, ::1/t", 9, "not host:port"),
        ("kafka:u@h/t", 6, "not host:port"),
        ("kafka::9092/t", 6, "not host:port"),
        ("kafka:h:/t", 6, "not host:port"),
        ("kafka:h:90x/t", 6, "not host:port"),
        ("kafka:h: 9092/t", 6, "not host:port"),
        ("kafka:h:+1/t", 6, "not host:port"),
        ("kafka:h:٣/t", 6, "not host:port"),
        ("kafka:h:0/t", 8, "port out of range"),
        ("kafka:h:65536/t", 8, "port out of range"),
        ("kafka:h:99999999999999999999999/t", 8, "port out of range"),
        ("kafka:a b/t", 7, "a character no host may have"),
        ("kafka:hé:1/t", 7, "a character no host may have"),
        ("kafka:h\u00a0/t", 7, "a character no host may have"),
        # IPv6
        ("kafka:[::1/t", 10, "missing ']'"),
        ("kafka:[]/t", 7, "not an IPv6 address"),
        ("kafka:[h]/t", 7, "not an IPv6 address"),
        ("kafka:[1.2.3.4]/t", 7, "not an IPv6 address"),
        ("kafka:[ ::1]/t", 7, "not an IPv6 address"),
        ("kafka:[::é]/t", 7, "not an IPv6 address"),
        ("kafka:[::\u0131]/t", 7, "not an IPv6 address"),  # its low byte is '1'
        (f"kafka:[{':' * 99}]/t", 7, "not an IPv6 address"),
        ("kafka:[fe80::1%]/t", 7, "not an IPv6 address"),
        ("kafka:[fe80::1%e 0]/t", 16, "a character no host may have"),
        ("kafka:[::1]9092/t", 6, "not host:port"),
        ("kafka:[::1]:/t", 6, "not host:port"),
        ("kafka:[::1]:0/t", 12, "port out of range"),
        # topic
        ("kafka:h:9092/", 13, "missing topic"),
        ("kafka:h:9092/  ", 13, "missing topic"),
        ("kafka:h:9092/?g.a=b", 13, "missing topic"),
        ("kafka:h:9092", 12, "missing topic"),
        ("kafka:h:9092?g.a=b/c", 12, "missing topic"),
        ("kafka:h/a/b", 9, "unexpected '/'"),
        ("kafka:h//t", 8, "unexpected '/'"),
        ("kafka:h/a b", 9, "a character no topic may have"),
        ("kafka:h/t&g.a=b", 9, "a character no topic may have"),
        ("kafka:h/é", 8, "a character no topic may have"),
        ("kafka:h/.", 8, "a topic may not be '.' or '..'"),
        ("kafka:h/ .. ", 9, "a topic may not be '.' or '..'"),
        ("kafka:h/" + "t" * 250, 257, "topic longer than 249 characters"),
        # properties
        ("kafka:h:9092/t?", 15, "missing properties after '?'"),
        ("kafka:h/t?&", 10, "missing property before '&'"),
        ("kafka:h/t?g.a=b&", 16, "missing property after '&'"),
        ("kafka:h/t?g.a=b&&", 16, "missing property between '&'"),
        ("kafka:h/t?g.a=b&&t.a=b", 16, "missing property between '&'"),
        ("kafka:h/t?=5", 10, "missing property name"),
        ("kafka:h/t?g.", 12, "missing property name"),
        ("kafka:h/t?t.=5", 12, "missing property name"),
        ("kafka:h/t?g.&t.a=b", 12, "missing property name"),
        ("kafka:h/t?g.a", 13, "missing '='"),
        ("kafka:h/t?g.a&t.a=b", 13, "missing '='"),
        ("kafka:h/t?key", 13, "missing '='"),
        ("kafka:h/t?g.a=b=c", 15, "unexpected '='"),
        ("kafka:h/t?g.a==", 14, "unexpected '='"),
        ("kafka:h/t?g.a=b&x.a=b", 16, "unknown prefix"),
        ("kafka:h/t?G.a=b", 10, "unknown prefix"),
        ("kafka:h/t?é.a=b", 10, "unknown prefix"),
        ("kafka:h/t?linger.ms=5", 10, "missing g. or t. prefix"),
        ("kafka:h/t?g", 10, "missing g. or t. prefix"),
        ("kafka:h/t?.a=b", 10, "missing g. or t. prefix"),
        ("kafka:h/t?keys=callid", 10, "missing g. or t. prefix"),
        ("kafka:h/t?Key=callid", 10, "missing g. or t. prefix"),
        ("kafka:h/t?key=foo", 14, "unsupported key value"),
        ("kafka:h/t?key=callid ", 14, "unsupported key value"),
        ("kafka:h/t?g.a=b&g.a=b", 16, "property given twice"),
        ("kafka:h/t?key=callid&t.a=b&key=callid", 27, "property given twice"),
        ("kafka:h/t? g.a=b", 10, "white space in a property name"),
        ("kafka:h/t?g.a =b", 13, "white space in a property name"),
        ("kafka:h/t?g.a=b& ", 16, "white space in a property name"),
        ("kafka:h/t?key =callid", 13, "white space in a property name"),
        ("kafka:h/t?g.bootstrap.servers=i", 10, "brokers are given before the '/'"),
        ("kafka:h/t?g.a=b&g.metadata.broker.list=i", 16, "brokers are given before the '/'"),
        # percent-encoding
        ("kafka:h/t?g.a=x%ff", 15, "percent-encoding is not UTF-8"),
        ("kafka:h/t?g.a=%41%C3", 17, "percent-encoding is not UTF-8"),
        ("kafka:h/t?g.a=%C3\u00a9", 14, "percent-encoding is not UTF-8"),
        ("kafka:h/t?g.a=%ED%A0%80", 14, "percent-encoding is not UTF-8"),
        ("kafka:h/t?g.a=x%00", 15, "control character"),
        ("kafka:h/t?g.a=%41%C3%A9%E2%82%AC%F0%9F%98%80%0a", 44, "control character"),
        ("kafka:h/t?g.a=%C2%85", 14, "control character"),
        # control characters and lone surrogates
        ("ka\nfka:h/t", 2, "control character"),
        ("kafka:h\t/t", 7, "control character"),
        ("kafka:h/t\n", 9, "control character"),
        ("kafka:h/t?g.\0=b", 12, "control character"),
        ("kafka:h/t?g.a=\x7f", 14, "control character"),
        ("kafka:h/t?g.a=\x85", 14, "control character"),
        ("kafka:h/\ud800", 8, "lone surrogate"),
        ("kafka:h/t?g.a=\udcff", 14, "lone surrogate"),
    ],
)
def test_bad_socket_names_the_place(text, position, reason):
    with pytest.raises(SocketError) as caught:
        parse_socket(text)
    assert (caught.value.position, caught.value.reason) == (position, reason)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("text", "brokers", "topic"),
    [
        ("h/t", ("h",), "t"),
        (" h:9092 , i / t ", ("h:9092", "i"), "t"),
        ("kafka: h , i:1 /t", ("h", "i:1"), "t"),
        ("kafka:embedded/t", ("embedded",), "t"),
        ("kafka:kafka:9092/t", ("kafka:9092",), "t"),
        ("kafka:a-b_c.D:65535/t", ("a-b_c.D:65535",), "t"),
        ("kafka:h:1/t", ("h:1",), "t"),
        ("[::1]/t", ("[::1]",), "t"),
        ("kafka:[::ffff:1.2.3.4]:1,[fe80::1%eth0]/t", ("[::ffff:1.2.3.4]:1", "[fe80::1%eth0]"), "t"),
        (
            "kafka:[0000:0000:0000:0000:0000:ffff:255.255.255.255]/t",
            ("[0000:0000:0000:0000:0000:ffff:255.255.255.255]",),
            "t",
        ),
        ("kafka:h/..." + "A-z_0.9" * 35, ("h",), "..." + "A-z_0.9" * 35),
        ("kafka:h/" + "t" * 249, ("h",), "t" * 249),
    ],
)
def test_brokers_and_topic(text, brokers, topic):
    socket = parse_socket(text)
    assert (socket.brokers, socket.topic) == (brokers, topic)
    assert socket.bootstrap_servers == ",".join(brokers)
    assert str(socket) == f"kafka:{','.join(brokers)}/{topic}"


@pytest.mark.parametrize(
    ("value", "decoded"),
    [
        ("", ""),
        (" a b ", " a b "),
        ("a?b/c,d:e@f", "a?b/c,d:e@f"),
        ("%26%3d%3D%25%3f", "&==%?"),
        ("%", "%"),
        ("%4", "%4"),
        ("%4g%g4%%41", "%4g%g4%A"),
        ("%2541", "%41"),
        ("é%C3%A9€%e2%82%ac%F0%9F%98%80!", "éé€€😀!"),
    ],
)
def test_value_is_percent_decoded(value, decoded):
    assert parse_socket(f"kafka:h/t?g.a={value}&t.b=1").global_properties == {"a": decoded}


def test_properties_keep_their_order_and_kind():
    socket = parse_socket("kafka:h/t?t.z=1&g.b=2&g.a=3&key=callid&t.b=4&g.topic.x=5")
    assert list(socket.global_properties.items()) == [("b", "2"), ("a", "3"), ("topic.x", "5")]
    assert list(socket.topic_properties.items()) == [("z", "1"), ("b", "4")]
    assert socket.to_text() == "kafka:h/t?g.b=2&g.a=3&g.topic.x=5&t.z=1&t.b=4&key=callid"


@pytest.mark.parametrize(
    ("text", "broker_id", "shown"),
    [
        ("[k1]127.0.0.1:9092/t?g.linger.ms=5", "k1", "kafka:127.0.0.1:9092/t?g.linger.ms=5"),
        ("[ k 1 ]  kafka:h/t", "k 1", "kafka:h/t"),
        ("[k1][::1]:9092/t", "k1", "kafka:[::1]:9092/t"),
        ("[[é]h/t", "[é", "kafka:h/t"),
    ],
)
def test_broker_id(text, broker_id, shown):
    assert parse_broker_id(text) == (broker_id, parse_socket(shown))


@pytest.mark.parametrize(
    ("text", "position", "reason"),
    [
        ("", 0, "missing '['"),
        (" [k1]h/t", 0, "missing '['"),
        ("kafka:h/t", 0, "missing '['"),
        ("[", 1, "missing ']'"),
        ("[k1 h/t", 7, "missing ']'"),
        ("[]h/t", 1, "missing ID"),
        ("[  ]h/t", 1, "missing ID"),
        ("[k\n1]h/t", 2, "control character"),
        ("[k1]", 4, "missing brokers"),
        ("[k1] http://x", 5, "not a kafka socket"),
        ("[k1]h:9092/", 11, "missing topic"),
        ("[k1]kafka:h/t?g.a", 17, "missing '='"),
    ],
)
def test_bad_broker_id_names_the_place_in_the_whole_text(text, position, reason):
    with pytest.raises(SocketError) as caught:
        parse_broker_id(text)
    assert (caught.value.position, caught.value.reason) == (position, reason)


@pytest.mark.parametrize("value", [None, 1, b"kafka:h/t", ["kafka:h/t"]])
def test_socket_text_must_be_str(value):
    with pytest.raises(TypeError, match="a socket is a str"):
        parse_socket(value)
    with pytest.raises(TypeError, match="a socket is a str"):
        parse_broker_id(value)


def test_subclass_of_str_is_text():
    class Text(str):
        __slots__ = ()

        def __str__(self):
            return "other"

    assert parse_socket(Text("kafka:h/t")).topic == "t"


EQUAL = [
    ("kafka:h/t", "h:9092/t"),
    ("kafka:H:9092/t", "kafka: h / t"),
    ("kafka:h:09092/t", "kafka:h/t"),
    ("kafka:a,b/t", "kafka:b,a,A:9092/t"),
    ("kafka:[::1]/t", "kafka:[0:0::0:1]:9092/t"),
    ("kafka:[FE80::A%eth0]/t", "kafka:[fe80::a%eth0]/t"),
    ("kafka:h/t?g.a=%41&g.b=2", "kafka:h/t?g.b=2&g.a=A"),
    ("kafka:h/t?key=callid&t.a=1", "kafka:h/t?t.a=1&key=callid"),
]
DIFFERENT = [
    ("kafka:h/t", "kafka:h/T"),
    ("kafka:h/t", "kafka:h:9093/t"),
    ("kafka:h/t", "kafka:h,i/t"),
    ("kafka:h/t", "kafka:h/t?key=callid"),
    ("kafka:h/t?g.a=1", "kafka:h/t?t.a=1"),
    ("kafka:h/t?g.a=1", "kafka:h/t?g.a=2"),
    ("kafka:[fe80::a%eth0]/t", "kafka:[fe80::a%eth1]/t"),
]


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_same_meaning_is_equal(one, other):
    one, other = parse_socket(one), parse_socket(other)
    assert one == other
    assert hash(one) == hash(other)
    assert one.cluster == other.cluster


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_other_meaning_is_not_equal(one, other):
    assert parse_socket(one) != parse_socket(other)


def test_socket_is_not_its_text():
    assert parse_socket("kafka:h/t") != "kafka:h/t"


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ("kafka:a,b/t", "kafka:b,A/u?t.acks=1&key=callid", True),
        ("kafka:a/t?g.x=1&g.y=2", "kafka:a/t?g.y=2&g.x=1", True),
        ("kafka:a/t", "kafka:b/t", False),
        ("kafka:a/t", "kafka:a/t?g.x=1", False),
    ],
)
def test_cluster_is_brokers_and_global_properties(one, other, shared):
    one, other = parse_socket(one).cluster, parse_socket(other).cluster
    assert (one == other) is shared
    assert (len({one, other}) == 1) is shared


def test_socket_is_immutable():
    socket = parse_socket("kafka:h/t?g.a=1")
    with pytest.raises(AttributeError):
        socket.topic = "u"
    with pytest.raises(AttributeError):
        socket.other = 1
    with pytest.raises(TypeError):
        socket.global_properties["a"] = "2"


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_copy_and_pickle_keep_everything(clone):
    socket = parse_socket(f"kafka:H,[::1]/t?t.a=%26&g.sasl.password={SECRET}%3D%25&key=callid")
    assert clone(socket) == socket
    assert clone(socket).to_text(secrets=True) == socket.to_text(secrets=True)


def test_error_pickles_whole():
    with pytest.raises(SocketError) as caught:
        parse_socket("kafka:h/t?g.a")
    error = pickle.loads(pickle.dumps(caught.value))
    assert (str(error), error.reason, error.position) == (str(caught.value), "missing '='", 13)


# secrets


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("sasl.password", True),
        ("g.sasl.password", True),
        ("SASL.Password", True),
        ("ssl.key.password", True),
        ("ssl.keystore.password", True),
        ("ssl.key.pem", True),
        ("ssl_key", True),
        ("sasl.oauthbearer.config", True),
        ("sasl.oauthbearer.client.secret", True),
        ("sasl.oauthbearer.assertion.private.key.passphrase", True),
        ("sasl.oauthbearer.assertion.private.key.pem", True),
        ("sasl.jaas.config", True),
        ("sasl.p%61ssword", True),
        ("ssl.key.location", False),
        ("ssl.keystore.location", False),
        ("ssl.certificate.pem", False),
        ("sasl.username", False),
        ("sasl.oauthbearer.method", False),
        ("linger.ms", False),
        ("", False),
    ],
)
def test_secret_by_name(name, secret):
    assert is_secret(name) is secret


def test_valid_socket_shows_no_secret():
    text = f"kafka:h/t?g.sasl.username=u&g.sasl.password={SECRET}&g.ssl.key.location=/k&t.a=1"
    socket = parse_socket(text)
    assert socket.to_text() == "kafka:h/t?g.sasl.username=u&g.sasl.password=***&g.ssl.key.location=/k&t.a=1"
    assert socket.to_text(secrets=True) == text
    for shown in (repr(socket), str(socket), f"{socket}", repr(socket.cluster), str(socket.cluster)):
        assert SECRET not in shown
    assert repr(socket) == f"KafkaSocket({socket.to_text()!r})"


@pytest.mark.parametrize(
    ("text", "shown", "column"),
    [
        # the caret is below the place, counted in the masked text
        ("kafka:h/t?g.sasl.password=hunter2&t.a", "kafka:h/t?g.sasl.password=***&t.a", 33),
        ("kafka:h/t?g.sasl.password=hunter2&", "kafka:h/t?g.sasl.password=***", 29),
        ("kafka:h/t?x.a=1&g.sasl.password=hunter2", "kafka:h/t?x.a=1&g.sasl.password=***", 10),
        # a raw '=' or '&' in the password
        ("kafka:h/t?g.sasl.password=hun=hunter2&t.a=1", "kafka:h/t?g.sasl.password=***&t.a=1", 26),
        ("kafka:h/t?g.sasl.password=hun&hunter2&t.a=1", "kafka:h/t?g.sasl.password=***&t.a=1", 26),
        ("kafka:h/t?g.sasl.password=a&b=hunter2&x.a=1", "kafka:h/t?g.sasl.password=***", 26),
        ("kafka:h/t?g.sasl.password=hunter2%ff&key=callid", "kafka:h/t?g.sasl.password=***&key=callid", 26),
        ("kafka:h/t?g.sasl.password=hunter2\n", "kafka:h/t?g.sasl.password=***", 26),
        # a name or prefix that is wrong
        ("kafka:h/t?sasl.password=hunter2", "kafka:h/t?sasl.password=***", 10),
        ("kafka:h/t?x.sasl.password=hunter2", "kafka:h/t?x.sasl.password=***", 10),
        ("kafka:h/t?G.SASL.PASSWORD=hunter2", "kafka:h/t?G.SASL.PASSWORD=***", 10),
        ("kafka:h/t?g.sasl.pass word =hunter2", "kafka:h/t?g.sasl.pass word =***", 21),
        ("kafka:h/t?x.sasl.p%61ssword=hunter2", "kafka:h/t?x.sasl.p%61ssword=***", 10),
        ("kafka:h/t?g.sasl.password%3Dhunter2", "kafka:h/t?g.sasl.password%3D***", 31),
        ("kafka:h/t?g.sasl.password:hunter2", "kafka:h/t?g.sasl.password***", 28),
        ("kafka:h/t?g.sasl.password hunter2&t.a=1", "kafka:h/t?g.sasl.password ***&t.a=1", 25),
        ("kafka:h/t?g.sasl.password hunter2=1", "kafka:h/t?g.sasl.password ***", 25),
        ("kafka:h/t?sasl.password-hunter2=1", "kafka:h/t?sasl.password***", 10),
        ("kafka:h/t&g.sasl.password=hunter2", "kafka:h/t&g.sasl.password=***", 9),
        ("kafka:h?g.sasl.password=hunter2", "kafka:h?g.sasl.password=***", 7),
        ("KAFKA:h/t?g.sasl.password=hunter2", "KAFKA:h/t?g.sasl.password=***", 0),
        ('kafka:h h/t?g.x=a password="hunter2"', "kafka:h h/t?g.x=a password=***", 7),
        # user and password before the brokers
        ("kafka:user:hunter2@h:9092/t", "kafka:***@h:9092/t", 6),
        ("kafka:h,user:hunter2@h/t?g.a=b@c", "kafka:***@h/t?g.a=b@c", 6),
        ("kafka:user:a/hunter2@h/t", "kafka:***@h/t", 6),
        ("kafka:user:a?hunter2@h/t", "kafka:***@h/t", 6),
        ("kafka:user:a@hunter2@h/t", "kafka:***@h/t", 6),
        ("kafka://user:hunter2@h/t", "kafka:***@h/t", 6),
        ("http://user:hunter2@h/t", "***@h/t", 0),
        # what is no secret stays
        ("kafka:h/password-resets/x", "kafka:h/password-resets/x", 23),
        ("kafka:h/t?g.client.id=secret-service&x.a=1", "kafka:h/t?g.client.id=secret-service&x.a=1", 37),
        ("kafka:h/t?g.sasl.username=a@b&x.a=1", "kafka:h/t?g.sasl.username=a@b&x.a=1", 30),
        ("kafka:h/t?g.a=b\tc", "kafka:h/t?g.a=b?c", 15),
        ("kafka:h/\ud800\u2028", "kafka:h/??", 8),
    ],
)
def test_error_masks_secrets(text, shown, column):
    with pytest.raises(SocketError) as caught:
        parse_socket(text)
    error = caught.value
    assert str(error).split("\n")[1:] == [f"  {shown}", f"  {' ' * column}^"]
    assert SECRET not in f"{error} {error!r} {error.args}"
    assert SECRET.encode() not in pickle.dumps(error)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[k1]user:hunter2@h/t", "[k1]***@h/t"),
        ("[k1]h/t?g.sasl.password=hunter2=", "[k1]h/t?g.sasl.password=***"),
        ("[k1 user:hunter2@h/t", "***@h/t"),
        ("k1]h/t?g.sasl.password=hunter2", "k1]h/t?g.sasl.password=***"),
    ],
)
def test_broker_id_error_masks_secrets(text, shown):
    with pytest.raises(SocketError) as caught:
        parse_broker_id(text)
    assert str(caught.value).split("\n")[1] == f"  {shown}"


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        (f"kafka:h/t?x.a={'a' * 500}", "kafka:h/t?x.a=a", "a…"),
        (f"kafka:h/t?g.a={'a' * 500}=", "…aaa", "a="),
        (f"kafka:h/t?g.a={'a' * 500}=b{'c' * 500}", "…aaa", "c…"),
    ],
)
def test_long_text_is_shown_around_the_place(text, start, end):
    with pytest.raises(SocketError) as caught:
        parse_socket(text)
    _, shown, caret = str(caught.value).split("\n")
    assert 200 <= len(shown) - 2 <= 202
    assert shown[2:].startswith(start)
    assert shown.endswith(end)
    assert shown[caret.index("^")] == text[caught.value.position]


# properties that hold for all texts

PIECES = [
    *"abgtk019.-_,:/?&=%@[] ",
    *[
        "kafka:",
        "g.",
        "t.",
        "key=callid",
        "key=",
        "%41",
        "%C3",
        "[::1]",
        ":9092",
        "é",
        "\n",
        "\ud800",
        "password",
    ],
]
texts = st.lists(st.sampled_from(PIECES), max_size=25).map("".join)


@given(texts)
def test_any_text_gives_a_socket_or_an_error_with_a_place(text):
    for parse in (parse_socket, parse_broker_id):
        error = error_of(parse, text)
        assert error is None or 0 <= error.position <= len(text)
        if error is not None and text:
            _, shown, caret = str(error).split("\n")
            assert caret.index("^") <= len(shown)


def error_of(parse, text):
    try:
        parse(text)
    except SocketError as error:
        return error
    return None


words = st.text("abzAZ019-_.", min_size=1, max_size=20)
ports = st.integers(1, 65535)
hosts = st.one_of(words, st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(lambda a: f"[{a}]"))
brokers = st.one_of(hosts, st.builds("{}:{}".format, hosts, ports))
# without controls and surrogates
values = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=20)
names = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters=" =&"), min_size=1, max_size=20)
properties = st.dictionaries(names, values, max_size=4)


def encoded(value):
    return value.replace("%", "%25").replace("&", "%26").replace("=", "%3D")


@given(st.lists(brokers, min_size=1, max_size=4), words, properties, properties, st.booleans())
def test_text_with_secrets_parses_to_an_equal_socket(brokers, topic, of_client, of_topic, keyed):
    assume(topic not in (".", "..") and not {"bootstrap.servers", "metadata.broker.list"} & of_client.keys())
    parts = [f"g.{name}={encoded(value)}" for name, value in of_client.items()]
    parts += [f"t.{name}={encoded(value)}" for name, value in of_topic.items()]
    parts += ["key=callid"] * keyed
    text = f"kafka:{','.join(brokers)}/{topic}" + ("?" + "&".join(parts) if parts else "")

    socket = parse_socket(text)
    assert socket.brokers == tuple(brokers)
    assert socket.topic == topic
    assert list(socket.global_properties.items()) == list(of_client.items())
    assert list(socket.topic_properties.items()) == list(of_topic.items())
    assert socket.key == ("callid" if keyed else None)
    assert socket.to_text(secrets=True) == text
    assert KafkaSocket(socket.to_text(secrets=True)) == socket


noise = st.lists(st.sampled_from([*"=&?/@%:, x.[]", "%41", "é"]), max_size=6).map("".join)


@given(noise, noise, noise, st.sampled_from(["", "&t.acks=1", "&x.a", "&key=callid&"]))
def test_error_never_holds_a_secret_whatever_surrounds_it(before, start, end, after):
    for text in (
        f"kafka:h/t?{before}g.sasl.password={start}{SECRET}{end}{after}",
        f"kafka:{before}h/t?g.sasl.password={start}{SECRET}{end}{after}",
        f"kafka:user:{start}{SECRET}{end}@h/t?g.a=1{after}",
        f"[k1]{before}h/t?g.ssl.key.password={start}{SECRET}{end}{after}",
    ):
        for parse in (parse_socket, parse_broker_id):
            error = error_of(parse, text)
            assert SECRET not in (f"{error} {error!r} {pickle.dumps(error)}" if error else repr(parse(text)))


# with_properties


BASE = "kafka:h:9092/t?g.linger.ms=5&g.acks=all&t.request.required.acks=1&key=callid"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, BASE),
        ({"global_properties": {"acks": "1"}}, BASE.replace("g.acks=all", "g.acks=1")),
        ({"global_properties": {"acks": None, "none": None}}, BASE.replace("&g.acks=all", "")),
        ({"global_properties": {"a": "x&g.b=%41 é"}}, BASE.replace("&t.", "&g.a=x%26g.b%3D%2541 é&t.")),
        ({"topic_properties": {"a": ""}}, BASE.replace("&key", "&t.a=&key")),
        ({"brokers": "a:1, [::1]"}, BASE.replace("h:9092", "a:1,[::1]")),
        ({"brokers": ["a:1", "b"]}, BASE.replace("h:9092", "a:1,b")),
        ({"topic": "other"}, BASE.replace("/t?", "/other?")),
        ({"key": None}, BASE.replace("&key=callid", "")),
        ({"key": "callid"}, BASE),
    ],
)
def test_properties_brokers_topic_and_key_are_changed(changes, expected):
    socket = parse_socket(BASE)
    changed = socket.with_properties(**changes)
    assert changed.to_text(secrets=True) == expected
    assert changed == parse_socket(changed.to_text(secrets=True))
    assert socket.to_text() == BASE


def test_a_socket_without_properties_gets_some():
    socket = parse_socket("embedded/t").with_properties({"a": "1"}, {"b": "2"}, key="callid")
    assert socket.to_text() == "kafka:embedded/t?g.a=1&t.b=2&key=callid"


@pytest.mark.parametrize(
    ("changes", "reason", "shown"),
    [
        ({"global_properties": {"": "1"}}, "missing property name", "g.=1"),
        ({"global_properties": {"a b": "1"}}, "white space in a property name", "g.a b=1"),
        ({"global_properties": {"a=1&g.b": "2"}}, "unexpected '='", "g.a=1&g.b=2"),
        ({"topic_properties": {"a&t.b": "2"}}, "unexpected '&'", "t.a&t.b=2"),
        ({"global_properties": {"a": "1\n"}}, "control character", "g.a=1?"),
        ({"global_properties": {"a": "\ud800"}}, "lone surrogate", "g.a=?"),
        ({"global_properties": {"bootstrap.servers": "h"}}, "brokers are given before the '/'", "g.bootstrap.servers="),
        ({"key": "other"}, "unsupported key value", "key=other"),
        ({"brokers": []}, "missing brokers", "kafka:/t"),
        ({"brokers": "h:0"}, "port out of range", "kafka:h:0/t"),
        ({"brokers": "h/t?g.a=1&t.b=x"}, "unexpected '?' in brokers or topic", ""),
        ({"topic": "t?g.a=1"}, "unexpected '?' in brokers or topic", ""),
        ({"topic": ""}, "missing topic", "kafka:h:9092/"),
        ({"topic": "a/b"}, "unexpected '/'", "kafka:h:9092/a/b"),
    ],
)
def test_what_no_text_may_have_is_a_socket_error_that_shows_the_place(changes, reason, shown):
    with pytest.raises(SocketError) as caught:
        parse_socket(BASE).with_properties(**changes)
    assert caught.value.reason == reason
    assert shown in str(caught.value)


def test_the_error_of_a_secret_property_does_not_show_its_value():
    with pytest.raises(SocketError) as caught:
        parse_socket("h/t").with_properties({"sasl.password": f"{SECRET}\n"})
    assert SECRET not in str(caught.value)
    assert "g.sasl.password=***" in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [{"global_properties": {"a": 1}}, {"topic_properties": {1: "a"}}, {"topic": 1}, {"key": 1}, {"brokers": [1]}],
)
def test_names_and_values_must_be_str(changes):
    with pytest.raises(TypeError, match="is a str, not int"):
        parse_socket(BASE).with_properties(**changes)
