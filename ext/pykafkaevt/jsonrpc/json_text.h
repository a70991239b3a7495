/* The grammar of JSON (RFC 8259), over text in place: nothing is allocated, nothing is read outside of it. The UTF-8 of
 * strings is the caller's to check (utf8_valid). */
#ifndef PYKAFKAEVT_JSON_TEXT_H
#define PYKAFKAEVT_JSON_TEXT_H

#include "json_escape.h"

#define JSON_DEPTH 128 /* arrays and objects in each other, the message itself is the first */

/* A value, borrowed from the text. kind: 0 absent; 's' string without escapes, 'e' string with escapes (both
 * without the quotes, which are around data); 'n' number; 't', 'f', '0' true, false, null; 'o' object, 'a' array. */
typedef struct {
    const char *data;
    size_t size;
    char kind;
} JsonSlice;

enum {
    JSON_OK, JSON_EMPTY, JSON_SYNTAX, JSON_NOT_UTF8, JSON_NOT_OBJECT, JSON_TRAILING, JSON_TOO_DEEP,
    JSON_NO_METHOD, JSON_BAD_METHOD, JSON_REASONS
};

static const char *const json_reasons[JSON_REASONS] = {
    "ok", "empty", "syntax", "not_utf8", "not_object", "trailing", "too_deep", "no_method", "bad_method",
};

/* What is left of the text. The functions below return JSON_OK or a reason, and move `at` behind what they read. */
typedef struct {
    const char *at, *end;
} JsonText;

/* The next byte behind white space, which stays unread; -1 at the end. */
static inline int json_peek(JsonText *text) {
    while (text->at < text->end) {
        char c = *text->at;
        if (c != ' ' && c != '\n' && c != '\r' && c != '\t')
            return (unsigned char)c;
        text->at++;
    }
    return -1;
}

/* The first quote, backslash or control character from `at` on, or `end`. */
static inline const char *json_plain_end(const char *at, const char *end) {
#ifdef JSON_LANES
    for (; end - at >= JSON_LANES; at += JSON_LANES) {
        uint64_t bits = json_special(json_load(at));
        if (bits)
            return at + JSON_FIRST(bits);
    }
#else
    for (uint64_t x; end - at >= 8 && (memcpy(&x, at, 8), !json_special8(x));)
        at += 8;
#endif
    while (at < end && !json_short[(unsigned char)*at])
        at++;
    return at;
}

/* The code unit of the four hexadecimal digits at src, or -1. */
static inline int32_t json_hex4(const char *src) {
    int32_t unit = 0;
    for (int i = 0; i < 4; i++) {
        unsigned digit = (unsigned char)src[i];
        unsigned letter = (digit | 0x20) - 'a';
        if (digit - '0' < 10)
            digit -= '0';
        else if (letter < 6)
            digit = letter + 10;
        else
            return -1;
        unit = unit << 4 | (int32_t)digit;
    }
    return unit;
}

/* A string, behind its opening quote. */
static inline int json_string(JsonText *text, JsonSlice *string) {
    const char *at = text->at, *end = text->end;
    string->data = at;
    string->kind = 's';
    while ((at = json_plain_end(at, end)) < end && *at == '\\') {
        string->kind = 'e';
        if (end - at < 2)
            return JSON_SYNTAX;
        switch (at[1]) {
        case '"': case '\\': case '/': case 'b': case 'f': case 'n': case 'r': case 't':
            at += 2;
            break;
        case 'u':
            if (end - at < 6 || json_hex4(at + 2) < 0)
                return JSON_SYNTAX;
            at += 6;
            break;
        default:
            return JSON_SYNTAX;
        }
    }
    if (at == end || *at != '"')
        return JSON_SYNTAX;
    string->size = (size_t)(at - string->data);
    text->at = at + 1;
    return JSON_OK;
}

/* One digit or more: the end of them, or NULL. */
static inline const char *json_digits(const char *at, const char *end) {
    const char *start = at;
    while (at < end && *at >= '0' && *at <= '9')
        at++;
    return at > start ? at : NULL;
}

static inline int json_number(JsonText *text, JsonSlice *number) {
    const char *at = text->at, *end = text->end;
    number->data = at;
    number->kind = 'n';
    at += *at == '-';
    if (at < end && *at == '0')
        at++;
    else if (!(at = json_digits(at, end)))
        return JSON_SYNTAX;
    if (at < end && *at == '.' && !(at = json_digits(at + 1, end)))
        return JSON_SYNTAX;
    if (at < end && (*at | 0x20) == 'e') {
        at++;
        at += at < end && (*at == '+' || *at == '-');
        if (!(at = json_digits(at, end)))
            return JSON_SYNTAX;
    }
    number->size = (size_t)(at - number->data);
    text->at = at;
    return JSON_OK;
}

static inline int json_literal(JsonText *text, const char *word, size_t size, char kind, JsonSlice *literal) {
    if ((size_t)(text->end - text->at) < size || memcmp(text->at, word, size))
        return JSON_SYNTAX;
    *literal = (JsonSlice){text->at, size, kind};
    text->at += size;
    return JSON_OK;
}

/* A string, a number or a literal. */
static inline int json_scalar(JsonText *text, JsonSlice *value) {
    switch (json_peek(text)) {
    case '"':
        text->at++;
        return json_string(text, value);
    case 't':
        return json_literal(text, "true", 4, 't', value);
    case 'f':
        return json_literal(text, "false", 5, 'f', value);
    case 'n':
        return json_literal(text, "null", 4, '0', value);
    case -1:
        return JSON_SYNTAX;
    default:
        return json_number(text, value);
    }
}

/* A member's name and the colon behind it. */
static inline int json_name(JsonText *text, JsonSlice *name) {
    if (json_peek(text) != '"')
        return JSON_SYNTAX;
    text->at++;
    int reason = json_string(text, name);
    if (reason)
        return reason;
    if (json_peek(text) != ':')
        return JSON_SYNTAX;
    text->at++;
    return JSON_OK;
}

/* An array or an object, at its bracket, inside `depth` others. */
static inline int json_container(JsonText *text, size_t depth, JsonSlice *value) {
    char close[JSON_DEPTH]; /* the closing brackets that are due */
    size_t open = 0;
    JsonSlice ignored;
    value->data = text->at;
    value->kind = *text->at == '{' ? 'o' : 'a';
    for (;;) {
        int reason, c = json_peek(text), entered = c == '{' || c == '[';
        if (entered) {
            if (depth + open == JSON_DEPTH)
                return JSON_TOO_DEEP;
            close[open++] = c == '{' ? '}' : ']';
            text->at++;
        } else if ((reason = json_scalar(text, &ignored))) {
            return reason;
        }
        while ((c = json_peek(text)) == close[open - 1]) {
            text->at++;
            entered = 0;
            if (--open == 0) {
                value->size = (size_t)(text->at - value->data);
                return JSON_OK;
            }
        }
        if (!entered) {
            if (c != ',')
                return JSON_SYNTAX;
            text->at++;
        }
        if (close[open - 1] == '}' && (reason = json_name(text, &ignored)))
            return reason;
    }
}

/* Any value, inside `depth` arrays and objects. */
static inline int json_value(JsonText *text, size_t depth, JsonSlice *value) {
    int c = json_peek(text);
    return c == '{' || c == '[' ? json_container(text, depth, value) : json_scalar(text, value);
}

/* The next member's name, up to its value; absent (kind 0) behind the end of the object. `first`: behind its opening
 * brace. */
static inline int json_member(JsonText *text, int first, JsonSlice *name) {
    int c = json_peek(text);
    if (c == '}') {
        text->at++;
        name->kind = 0;
        return JSON_OK;
    }
    if (!first) {
        if (c != ',')
            return JSON_SYNTAX;
        text->at++;
    }
    return json_name(text, name);
}

#endif
