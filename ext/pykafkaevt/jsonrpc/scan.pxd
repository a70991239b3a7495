# See json_scan.h and json_text.h for what they promise.
cdef extern from "json_scan.h" nogil:
    # borrowed from the message; strings are without their quotes
    ctypedef struct JsonSlice:
        const char* data
        size_t size
        char kind      # 0 absent, s e string (without, with escapes), n number, t f 0 literals, o object, a array

    # a member's name to look for
    ctypedef struct JsonName:
        const char* name
        size_t size

    ctypedef struct JsonEvent:
        JsonSlice method
        JsonSlice id
        JsonSlice key
        JsonSlice time

    enum:
        JSON_KEYS_MAX
        JSON_OK
        JSON_REASONS

    const char* const* json_reasons

    # JSON_OK or the reason why the message is no event
    int json_event_scan(
        const char* data, size_t size, int plain, const JsonName* keys, size_t n_keys, const JsonName* time,
        JsonEvent* event
    )

    # the bytes written; dst needs text.size bytes
    size_t json_unescape(char* dst, JsonSlice text)

    # the first quote, backslash or control character from `at` on, or `end`
    const char* json_plain_end(const char* at, const char* end)
