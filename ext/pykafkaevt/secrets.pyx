"""Which properties of a Kafka socket are secret, and its text without their values."""

cdef enum:
    MAX_SHOWN = 200  # characters of the text that an error repeats

cdef tuple PROPERTY_STARTS = ("g.", "t.", "key=")

# A property with one of these in its name has a value that is not shown: librdkafka's sensitive properties
# and the Java client's sasl.jaas.config, which people paste.
cdef tuple SECRET_WORDS = (
    "password", "passphrase", "secret", "key.pem", "ssl_key", "oauthbearer.config", "jaas.config",
)


def is_secret(str name not None):
    """Whether the property `name`, with or without its g. or t., has a value that must not be shown."""
    cdef str folded = fold(name, 0)[0]
    for word in SECRET_WORDS:
        if word in folded:
            return True
    return False


cdef tuple masked(str text, Py_ssize_t start, Py_ssize_t position, bint in_properties):
    ranges = secret_ranges(text, start)
    if not in_properties:
        ranges += userinfo_range(text, start)
    shown, column = mask(text, position, sorted(ranges))
    return window(shown, column)


cdef list secret_ranges(str text, Py_ssize_t start):
    """(first, last) of the values of secret properties; in malformed text rather too much than too little."""
    cdef Py_ssize_t i = 0, after, first, last
    cdef bint in_name = False  # behind a '?' or '&', before a '='
    cdef Py_UCS4 c
    cdef str folded
    cdef list offsets, ranges = []
    folded, offsets = fold(text, start)
    while i < len(folded):
        c = text[<Py_ssize_t>offsets[i]]
        if c == '=' or c == '&' or c == '?':
            in_name = c != '='
        after = secret_word_end(folded, i)
        if after and after < len(folded) and folded[after] == '=':
            first = offsets[after + 1]
        elif after and in_name:
            # every real name ends with its word: what stands there instead of a '=' may be the secret already
            first = offsets[after]
        else:
            i += 1
            continue
        last = value_end(text, first)
        ranges.append((first, last))
        while i < len(folded) and offsets[i] < last:
            i += 1
    return ranges


cdef Py_ssize_t secret_word_end(str folded, Py_ssize_t i) except -1:
    """The place behind the secret word that begins at i, 0 without one."""
    for word in SECRET_WORDS:
        if folded.startswith(word, i):
            return i + len(word)
    return 0


cdef tuple fold(str text, Py_ssize_t start):
    """text[start:] as secrets' names are looked for in it, and the offset in text of each of its characters.

    Percent-encoding is decoded, letters are lower, and what is not visible ASCII is left out. The offsets
    have one more, the text's end.
    """
    cdef Py_ssize_t i = start, end = len(text), width
    cdef int byte
    cdef Py_UCS4 c
    cdef list characters = [], offsets = []
    while i < end:
        byte = encoded_byte(text, i, end)
        c = <Py_UCS4>byte if byte >= 0 else text[i]
        width = 3 if byte >= 0 else 1
        if 0x20 < c < 0x7F:
            characters.append(c.lower())
            offsets.append(i)
        i += width
    offsets.append(end)
    return "".join(characters), offsets


cdef Py_ssize_t value_end(str text, Py_ssize_t first) except -1:
    """The end of the value at `first`: where a well-formed property follows, or the text's end."""
    cdef Py_ssize_t last = text.find("&", first)
    while last >= 0 and not text.startswith(PROPERTY_STARTS, last + 1):
        last = text.find("&", last + 1)
    return last if last >= 0 else len(text)


cdef list userinfo_range(str text, Py_ssize_t start):
    """[(first, last)] from the first broker to the last '@' before the properties; empty without one."""
    cdef Py_ssize_t at = -1, i
    cdef bint in_properties = False
    for i in range(start, len(text)):
        if text[i] == '@':
            # a '?' before it was the password's
            at, in_properties = i, False
        elif text[i] == '?':
            in_properties = in_properties or text.startswith(PROPERTY_STARTS, i + 1)
        elif text[i] == '=' and in_properties:
            break
    return [(start, at)] if at >= 0 else []


cdef tuple mask(str text, Py_ssize_t position, list ranges):
    """text with *** for each of the sorted ranges and ? for what can't be shown, and where position falls."""
    cdef Py_ssize_t i = 0, length = 0, column = -1, first, last
    cdef list parts = []
    for first, last in [*ranges, (len(text), len(text) + 1)]:
        if last <= i and i > 0:
            continue
        first = max(first, i)
        if column < 0 and position <= first:
            column = length + position - i
        parts.append(text[i:first])
        length += first - i
        if last > len(text):
            break
        parts.append("***")
        if column < 0 and position < last:
            column = length
        length += 3
        i = last
    shown = "".join([c if c.isprintable() else "?" for c in "".join(parts)])
    return shown, column


cdef tuple window(str shown, Py_ssize_t column):
    """(shown, column), shortened to the characters around the column when there are many."""
    cdef Py_ssize_t first, last
    if len(shown) <= MAX_SHOWN:
        return shown, column
    first = min(max(column - MAX_SHOWN // 2, 0), len(shown) - MAX_SHOWN)
    last = first + MAX_SHOWN
    before, behind = "…" if first else "", "…" if last < len(shown) else ""
    return f"{before}{shown[first:last]}{behind}", column - first + len(before)


cdef int encoded_byte(str text, Py_ssize_t i, Py_ssize_t last) noexcept:
    """The byte that `%XX` at i stands for, -1 when there is none before `last`."""
    cdef int high, low
    if i + 3 > last or text[i] != '%':
        return -1
    high, low = hex_digit(text[i + 1]), hex_digit(text[i + 2])
    return -1 if high < 0 or low < 0 else high * 16 + low


cdef inline int hex_digit(Py_UCS4 c) noexcept:
    if '0' <= c <= '9':
        return <int>c - 48
    if 'a' <= c <= 'f':
        return <int>c - 87
    return <int>c - 55 if 'A' <= c <= 'F' else -1
