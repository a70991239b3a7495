/* Credentials of SIP and HTTP messages, blanked in excerpts; the text may be a part of any message, or JSON that holds one. */
#ifndef PYKAFKAEVT_CREDENTIALS_H
#define PYKAFKAEVT_CREDENTIALS_H

#include <stddef.h>
#include <string.h>
#include <strings.h>

static inline int credentials_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

static inline char *credentials_skip(char *at, const char *end) {
    while (at < end && credentials_blank(*at))
        at++;
    return at;
}

/* Behind `word`, white space and `sign`, with more white space; NULL when they do not begin at `at`. Letters in any case. */
static inline char *credentials_after(char *at, const char *end, const char *word, char sign) {
    size_t n = strlen(word);
    if ((size_t)(end - at) < n || strncasecmp(at, word, n))
        return NULL;
    at = credentials_skip(at + n, end);
    return at < end && *at == sign ? credentials_skip(at + 1, end) : NULL;
}

/* Overwrite up to one of `stops` by '*'; where it ends. */
static inline char *credentials_cover(char *at, const char *end, const char *stops) {
    while (at < end && (*at == 0 || !strchr(stops, *at)))
        *at++ = '*';
    return at;
}

/* A value with or without quotes, which JSON escapes. */
static inline char *credentials_cover_value(char *at, const char *end) {
    char *quote = at;
    while (quote < end && *quote == '\\')
        quote++;
    if (quote < end && *quote == '"')
        return credentials_cover(quote + 1, end, "\"\\");
    return credentials_cover(at, end, ",; \t\r\n\"\\");
}

/* What follows the scheme of an Authorization or Proxy-Authorization header, but for Digest, whose parameters follow. */
static inline char *credentials_cover_scheme(char *at, const char *end) {
    char *scheme = at;
    while (at < end && ((*at | 0x20) >= 'a' && (*at | 0x20) <= 'z'))
        at++;
    if (at - scheme == 6 && !strncasecmp(scheme, "digest", 6))
        return at;
    return credentials_cover(credentials_skip(at, end), end, "\r\n\"\\");
}

/* Overwrite the digests of response= and rspauth=, and the credentials of schemes other than Digest, by '*'. */
static inline void credentials_cover_all(char *text, size_t size) {
    char *at = text, *value;
    const char *end = text + size;
    while (at < end) {
        if ((value = credentials_after(at, end, "response", '=')) || (value = credentials_after(at, end, "rspauth", '=')))
            at = credentials_cover_value(value, end);
        else if ((value = credentials_after(at, end, "authorization", ':')))
            at = credentials_cover_scheme(value, end);
        else
            at++;
    }
}

#endif
