"""The text of a Kafka socket, as OpenSIPS's event_kafka has it, to its fields.

    ['kafka:'] broker {',' broker} '/' topic ['?' property {'&' property}]
    broker   = host [':' port] | '[' IPv6 ']' [':' port]
    property = ('g.' | 't.') name '=' value | 'key=callid'

Read from left to right, a token at a time; the first wrong token is the one reported. Positions are offsets
in characters into the whole text. White space is U+0020 only; in a value `%XX` is a byte of UTF-8.
"""

from pykafkaevt.secrets cimport encoded_byte, masked

from pykafkaevt.errors import SocketError

cdef extern from "<sys/socket.h>" nogil:
    enum: AF_INET6

cdef extern from "<arpa/inet.h>" nogil:
    int inet_pton(int family, const char* text, void* address)

cdef enum:
    MAX_TOPIC = 249  # characters, Kafka's limit
    MAX_PORT = 65535
    MAX_IPV6 = 45  # characters: six groups and a dotted IPv4

cdef str PREFIX = "kafka:"


def parse(str text not None, Py_ssize_t start=0):
    """The fields of the socket that begins at `start`: (brokers, topic, global, topic properties, key).

    brokers: tuple of `host[:port]`; global, topic properties: dicts of str in the order written;
    key: "callid" or None. Raises SocketError.
    """
    cdef Py_ssize_t i = start, end = len(text)
    cdef str topic
    if not 0 <= start <= end:
        raise IndexError("start is outside the text")
    brokers = read_brokers(text, start, &i)
    if i == end or text[i] == '?':
        fail(text, start, i, "missing topic")
    i += 1
    topic = read_topic(text, start, &i)
    if i == end:
        return brokers, topic, {}, {}, None
    return (brokers, topic, *read_properties(text, start, i + 1))


def parse_broker_id(str text not None):
    """The ID of `[ID]socket` and the fields of its socket, as parse() gives them. Raises SocketError."""
    cdef Py_ssize_t i = 1, end = len(text), first, last
    if end == 0 or text[0] != '[':
        fail(text, 0, 0, "missing '['")
    while i < end and text[i] != ']':
        check_character(text, 0, i)
        i += 1
    if i == end:
        fail(text, 0, end, "missing ']'")
    first, last = 1, i
    trim(text, &first, &last)
    if first == last:
        fail(text, 0, 1, "missing ID")
    i += 1
    while i < end and text[i] == ' ':
        i += 1
    return text[first:last], parse(text, i)


def check_property(str name not None, str value not None):
    """Raise SocketError unless a socket's text may have `name=value`.

    name: `key`, or a property's name with its g. or t.; value: percent-encoded. Positions are in `name=value`.
    """
    cdef str text = f"{name}={value}"
    cdef Py_ssize_t i
    for i in range(len(name)):
        if name[i] == '=' or name[i] == '&':
            fail(text, 0, i, f"unexpected '{name[i]}'", True)
    read_properties(text, 0, 0)


cdef tuple read_brokers(str text, Py_ssize_t start, Py_ssize_t* next):
    """The brokers from `start` on; *next becomes the place of what ends them: '/', '?' or the text's end."""
    cdef Py_ssize_t i = start, end = len(text), begin, first, last
    cdef bint prefixed = text.startswith(PREFIX, start), foreign
    cdef list brokers = []
    if prefixed:
        i += len(PREFIX)
    while True:
        begin = i
        while i < end and text[i] != ',' and text[i] != '/' and text[i] != '?':
            check_character(text, start, i)
            i += 1
        first, last = begin, i
        trim(text, &first, &last)
        # without the prefix, the first broker decides whether the text is a Kafka socket
        foreign = not prefixed and not brokers
        if first < last:
            check_broker(text, start, first, last, foreign)
        elif not brokers and (i == end or text[i] != ','):
            fail(text, start, begin, "missing brokers")
        elif foreign:
            fail(text, start, start, "not a kafka socket")
        else:
            fail(text, start, begin, "empty broker")
        brokers.append(text[first:last])
        if i == end or text[i] != ',':
            next[0] = i
            return tuple(brokers)
        i += 1


cdef int check_broker(str text, Py_ssize_t start, Py_ssize_t first, Py_ssize_t last, bint foreign) except -1:
    """Raise SocketError unless text[first:last] is host[:port] or [IPv6][:port]."""
    cdef Py_ssize_t host_end = first, i
    cdef bint shaped = True
    cdef long port = 0
    if text[first] == '[':
        while host_end < last and text[host_end] != ']':
            host_end += 1
        if host_end == last:
            fail(text, start, last, "missing ']'")
        host_end += 1
        shaped = host_end == last or text[host_end] == ':'
    else:
        while host_end < last and text[host_end] != ':':
            shaped = shaped and text[host_end] != '@'
            host_end += 1
        shaped = shaped and host_end > first
    if host_end < last:
        shaped = shaped and host_end + 1 < last
        for i in range(host_end + 1, last):
            if not '0' <= text[i] <= '9':
                shaped = False
                break
            if port <= MAX_PORT:
                port = port * 10 + (<int>text[i] - 48)
    if not shaped and foreign:
        fail(text, start, start, "not a kafka socket")
    if not shaped:
        fail(text, start, first, "not host:port")

    if text[first] == '[':
        check_ipv6(text, start, first + 1, host_end - 1)
    else:
        for i in range(first, host_end):
            if not is_word(text[i]):
                fail(text, start, i, "a character no host may have")
    if host_end < last and not 1 <= port <= MAX_PORT:
        fail(text, start, host_end + 1, "port out of range")
    return 0


cdef int check_ipv6(str text, Py_ssize_t start, Py_ssize_t first, Py_ssize_t last) except -1:
    """Raise SocketError unless text[first:last] is an IPv6 address, maybe with a %zone."""
    cdef char address[MAX_IPV6 + 1]
    cdef char parsed[16]
    cdef Py_ssize_t zone = first, i
    while zone < last and text[zone] != '%':
        zone += 1
    if zone - first <= MAX_IPV6:
        for i in range(first, zone):
            # what is not ASCII becomes a character that no address has
            address[i - first] = <char>text[i] if text[i] < 0x7F else 0x7F
        address[zone - first] = 0
        if inet_pton(AF_INET6, address, parsed) == 1:
            for i in range(zone + 1, last):
                if not is_word(text[i]):
                    fail(text, start, i, "a character no host may have")
            if zone == last or zone + 1 < last:
                return 0
    fail(text, start, first, "not an IPv6 address")


cdef str read_topic(str text, Py_ssize_t start, Py_ssize_t* next):
    """The topic from *next on; *next becomes the place of the '?' or the text's end."""
    cdef Py_ssize_t begin = next[0], end = len(text), i = begin, first, last
    while i < end and text[i] != '?':
        check_character(text, start, i)
        i += 1
    next[0] = i
    first, last = begin, i
    trim(text, &first, &last)
    if first == last:
        fail(text, start, begin, "missing topic")
    for i in range(first, last):
        if text[i] == '/':
            fail(text, start, i, "unexpected '/'")
        if not is_word(text[i]):
            fail(text, start, i, "a character no topic may have")
    topic = text[first:last]
    if topic in (".", ".."):
        fail(text, start, first, "a topic may not be '.' or '..'")
    if last - first > MAX_TOPIC:
        fail(text, start, first + MAX_TOPIC, "topic longer than 249 characters")
    return topic


cdef tuple read_properties(str text, Py_ssize_t start, Py_ssize_t i):
    """(global, topic properties, key) of the properties from i, behind the '?', to the text's end."""
    cdef Py_ssize_t end = len(text), segment, name_end, value
    cdef dict global_properties = {}, topic_properties = {}, properties
    cdef str key = None, name
    if i == end:
        fail(text, start, i, "missing properties after '?'", True)
    while True:
        segment = i
        if i == end:
            fail(text, start, i, "missing property after '&'", True)
        if text[i] == '&':
            between = text[i - 1] == '&'
            fail(text, start, i, f"missing property {'between' if between else 'before'} '&'", True)
        while i < end and text[i] != '=' and text[i] != '&':
            check_character(text, start, i, True)
            i += 1
        name_end = i
        check_name(text, start, segment, name_end)
        if i == end or text[i] == '&':
            fail(text, start, i, "missing '='", True)

        i += 1
        value = i
        while i < end and text[i] != '&':
            if text[i] == '=':
                fail(text, start, i, "unexpected '='", True)
            check_character(text, start, i, True)
            i += 1

        if text[segment] == 'k':
            if key is not None:
                fail(text, start, segment, "property given twice", True)
            key = decode(text, start, value, i)
            if key != "callid":
                fail(text, start, value, "unsupported key value", True)
        else:
            properties = global_properties if text[segment] == 'g' else topic_properties
            name = text[segment + 2:name_end]
            if name in properties:
                fail(text, start, segment, "property given twice", True)
            properties[name] = decode(text, start, value, i)
        if i == end:
            return global_properties, topic_properties, key
        i += 1


cdef int check_name(str text, Py_ssize_t start, Py_ssize_t first, Py_ssize_t last) except -1:
    """Raise SocketError unless text[first:last] is `key` or a property's name with its g. or t."""
    cdef Py_ssize_t i
    cdef str name = text[first:last]
    for i in range(first, last):
        if text[i] == ' ':
            fail(text, start, i, "white space in a property name", True)
    if name == "key":
        return 0
    if first == last:
        fail(text, start, first, "missing property name", True)
    if last - first < 2 or text[first] == '.' or text[first + 1] != '.':
        fail(text, start, first, "missing g. or t. prefix", True)
    if text[first] != 'g' and text[first] != 't':
        fail(text, start, first, "unknown prefix", True)
    if last - first == 2:
        fail(text, start, last, "missing property name", True)
    if name in ("g.bootstrap.servers", "g.metadata.broker.list"):
        fail(text, start, first, "brokers are given before the '/'", True)
    return 0


cdef str decode(str text, Py_ssize_t start, Py_ssize_t first, Py_ssize_t last):
    """text[first:last] with its percent-encoded characters decoded; a '%' without two hex digits stays."""
    cdef Py_ssize_t i = first, plain = first, run
    cdef list parts = []
    while i < last:
        if encoded_byte(text, i, last) < 0:
            i += 1
            continue
        parts.append(text[plain:i])
        run = i
        data = bytearray()
        while encoded_byte(text, i, last) >= 0:
            data.append(encoded_byte(text, i, last))
            i += 3
        plain = i
        parts.append(decode_run(text, start, run, data))
    if not parts:
        return text[first:last]
    parts.append(text[plain:last])
    return "".join(parts)


cdef str decode_run(str text, Py_ssize_t start, Py_ssize_t run, bytearray data):
    """The characters of consecutive percent-encoded bytes, the first of them at `run`."""
    cdef Py_ssize_t wrong = -1
    cdef Py_UCS4 c
    decoded = ""
    try:
        decoded = data.decode()
    except UnicodeDecodeError as error:
        wrong = error.start
    # outside the handler, for the handled error holds the bytes of what may be a password
    if wrong >= 0:
        fail(text, start, run + 3 * wrong, "percent-encoding is not UTF-8", True)
    for c in decoded:
        if is_control(c):
            fail(text, start, run, "control character", True)
        run += 3 if c < 0x80 else 6 if c < 0x800 else 9 if c < 0x10000 else 12
    return decoded


cdef inline bint is_control(Py_UCS4 c) noexcept:
    return c < 0x20 or 0x7F <= c < 0xA0


cdef inline bint is_word(Py_UCS4 c) noexcept:
    """Whether hosts, topics and librdkafka's property names may have it."""
    return 'a' <= c <= 'z' or 'A' <= c <= 'Z' or '0' <= c <= '9' or c == '.' or c == '_' or c == '-'


cdef inline int check_character(str text, Py_ssize_t start, Py_ssize_t i, bint in_properties=False) except -1:
    """Raise SocketError when no part of a socket may have the character at i."""
    if is_control(text[i]):
        fail(text, start, i, "control character", in_properties)
    if 0xD800 <= text[i] < 0xE000:
        fail(text, start, i, "lone surrogate", in_properties)
    return 0


cdef inline void trim(str text, Py_ssize_t* first, Py_ssize_t* last) noexcept:
    """Narrow text[first:last] to what is inside its white space."""
    while first[0] < last[0] and text[first[0]] == ' ':
        first[0] += 1
    while first[0] < last[0] and text[last[0] - 1] == ' ':
        last[0] -= 1


cdef int fail(
    str text, Py_ssize_t start, Py_ssize_t position, str reason, bint in_properties=False
) except -1:
    """Raise SocketError for the socket that begins at `start`.

    in_properties: the brokers and the topic are known to be good, and hold no user and password.
    """
    if text.startswith(PREFIX, start):
        start += len(PREFIX)
    raise SocketError(reason, position, *masked(text, start, position, in_properties))
