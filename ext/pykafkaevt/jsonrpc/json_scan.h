/* One pass over one JSON message: its grammar and its UTF-8 are checked, the few values that route an event are found,
 * and nothing is allocated. Never reads outside [data, data + size). */
#ifndef PYKAFKAEVT_JSON_SCAN_H
#define PYKAFKAEVT_JSON_SCAN_H

#include "json_text.h"

#define JSON_METHOD_MAX 255 /* bytes of a method as it is written, without the quotes */
#define JSON_KEYS_MAX 64    /* names of key fields that are looked for */

/* A member's name to look for: UTF-8 without escapes. */
typedef struct {
    const char *name;
    size_t size;
} JsonName;

typedef struct {
    JsonSlice method, id, key, time;
} JsonEvent;

/* Decodes the byte or the escape at `src`, of a checked string, into at most four bytes; moves `src` behind it. A
 * surrogate that is not one of a pair becomes U+FFFD. Returns the end of what it wrote. */
static inline char *json_unescape_one(char *dst, const char **src, const char *end) {
    const char *at = *src;
    if (*at != '\\') {
        *dst++ = *at;
        *src = at + 1;
        return dst;
    }
    *src = at + 2;
    switch (at[1]) {
    case 'b': *dst++ = '\b'; return dst;
    case 'f': *dst++ = '\f'; return dst;
    case 'n': *dst++ = '\n'; return dst;
    case 'r': *dst++ = '\r'; return dst;
    case 't': *dst++ = '\t'; return dst;
    case 'u': break;
    default: *dst++ = at[1]; return dst;
    }
    uint32_t c = (uint32_t)json_hex4(at + 2);
    *src = at + 6;
    if (c >= 0xd800 && c <= 0xdfff) {
        uint32_t low = c < 0xdc00 && end - at >= 12 && at[6] == '\\' && at[7] == 'u' ? (uint32_t)json_hex4(at + 8) : 0;
        if (low >= 0xdc00 && low <= 0xdfff) {
            c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
            *src = at + 12;
        } else {
            c = 0xfffd;
        }
    }
    if (c < 0x80) {
        *dst++ = (char)c;
        return dst;
    }
    return utf8_encode(dst, c);
}

/* Writes the UTF-8 of a string of kind 'e' (or 's'); needs text.size bytes, no escape being shorter than its character.
 * Returns the bytes written. */
static inline size_t json_unescape(char *dst, JsonSlice text) {
    const char *src = text.data, *end = src + text.size;
    char *start = dst;
    while (src < end)
        dst = json_unescape_one(dst, &src, end);
    return (size_t)(dst - start);
}

/* Whether a string's value is the `size` bytes at `name`. */
static inline int json_is(JsonSlice text, const char *name, size_t size) {
    if (text.kind == 's')
        return text.size == size && !memcmp(text.data, name, size);
    const char *src = text.data, *end = src + text.size, *name_end = name + size;
    while (src < end) {
        char piece[4];
        size_t n = (size_t)(json_unescape_one(piece, &src, end) - piece);
        if (n > (size_t)(name_end - name) || memcmp(piece, name, n))
            return 0;
        name += n;
    }
    return name == name_end;
}

/* Where the key and the time are looked for. n_keys: those still to find, as a later name is no longer wanted
 * once an earlier one gave the key; seen: a bit per name, for the first of equal members counts. */
typedef struct {
    const JsonName *keys, *time;
    size_t n_keys;
    uint64_t seen;
} JsonWanted;

static inline void json_match(JsonWanted *wanted, JsonSlice name, JsonSlice value, JsonEvent *event) {
    for (size_t i = 0; i < wanted->n_keys; i++) {
        if ((wanted->seen >> i & 1) || !json_is(name, wanted->keys[i].name, wanted->keys[i].size))
            continue;
        wanted->seen |= (uint64_t)1 << i;
        if (value.kind == 's' || value.kind == 'e' || value.kind == 'n') {
            event->key = value;
            wanted->n_keys = i;
        }
    }
    if (wanted->time && !event->time.kind && json_is(name, wanted->time->name, wanted->time->size))
        event->time = value;
}

/* The members of an object behind its opening brace, inside `depth` arrays and objects, itself included. */
static inline int json_match_members(JsonText *text, size_t depth, JsonWanted *wanted, JsonEvent *event) {
    JsonSlice name, value;
    for (int reason, first = 1;; first = 0) {
        if ((reason = json_member(text, first, &name)) || !name.kind || (reason = json_value(text, depth, &value)))
            return reason;
        json_match(wanted, name, value, event);
    }
}

/* The members of a notification or request: method, id and what is wanted of params. */
static inline int json_match_event(JsonText *text, JsonWanted *wanted, JsonEvent *event) {
    JsonSlice name, value;
    int has_params = 0;
    for (int reason, first = 1;; first = 0) {
        if ((reason = json_member(text, first, &name)) || !name.kind)
            return reason;
        if (!has_params && json_is(name, "params", 6)) {
            has_params = 1;
            if (json_peek(text) == '{') {
                text->at++;
                if ((reason = json_match_members(text, 2, wanted, event)))
                    return reason;
                continue;
            }
        }
        if ((reason = json_value(text, 1, &value)))
            return reason;
        if (!event->method.kind && json_is(name, "method", 6))
            event->method = value;
        else if (!event->id.kind && json_is(name, "id", 2))
            event->id = value;
    }
}

/* Scans a message of one JSON object with white space around it; JSON_OK or the reason why it is none.
 *
 * plain == 0: the object is a JSON-RPC 2.0 notification or request: `method` is a string of 1 to JSON_METHOD_MAX
 * bytes; key and time are members of `params` (absent when that is an array). plain != 0: any object; key and time
 * are its own members, method and id are not looked for. key: of the first of `keys` (of the first JSON_KEYS_MAX)
 * whose member is a string or a number. time: any value; `time` may be NULL. Of equal names the first counts.
 * `event` borrows from `data`; only with JSON_OK is it whole. */
static inline int json_event_scan(const char *data, size_t size, int plain, const JsonName *keys, size_t n_keys,
                                  const JsonName *time, JsonEvent *event) {
    JsonText text = {data, data + size};
    JsonWanted wanted = {keys, time, n_keys < JSON_KEYS_MAX ? n_keys : JSON_KEYS_MAX, 0};
    size_t skip;
    int reason, is_object;
    memset(event, 0, sizeof *event);
    if (utf8_valid((const unsigned char *)data, size, &skip) != size)
        return JSON_NOT_UTF8;
    int c = json_peek(&text);
    if (c < 0)
        return JSON_EMPTY;
    is_object = c == '{';
    if (!is_object) {
        JsonSlice ignored;
        reason = json_value(&text, 0, &ignored);
    } else {
        text.at++;
        reason = plain ? json_match_members(&text, 1, &wanted, event) : json_match_event(&text, &wanted, event);
    }
    if (reason)
        return reason;
    if (json_peek(&text) >= 0)
        return JSON_TRAILING;
    if (!is_object)
        return JSON_NOT_OBJECT;
    if (plain)
        return JSON_OK;
    if (!event->method.kind)
        return JSON_NO_METHOD;
    if ((event->method.kind != 's' && event->method.kind != 'e') || !event->method.size ||
        event->method.size > JSON_METHOD_MAX)
        return JSON_BAD_METHOD;
    return JSON_OK;
}

#endif
