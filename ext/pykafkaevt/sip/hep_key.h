/* The authentication keys of HEP packets: compared with those that are known, blanked in copies that people see. */
#ifndef PYKAFKAEVT_HEP_KEY_H
#define PYKAFKAEVT_HEP_KEY_H

#include <stddef.h>
#include <string.h>

/* Vendor 0, type 0x000e; the chunk's size, two bytes with this header's six, and the key follow. */
enum { HEP_KEY_MARK = 4, HEP_KEY_HEADER = 6 };

/* The next such mark, NULL without one. It is looked for at every byte: in a broken packet no size leads to it. */
static inline const char *hep_find_key(const char *data, size_t size) {
    return size < HEP_KEY_MARK ? NULL : (const char *)memmem(data, size, "\0\0\0\x0e", HEP_KEY_MARK);
}

/* Overwrite the keys in `copy`, which holds the bytes of `data` and is other memory, by '*'.
 * A key whose size cannot be right goes on to the end. A mark inside a key counts as well, so no false one hides a true one. */
static inline void hep_blank_keys(const char *data, size_t size, char *copy) {
    const char *at = data, *end = data + size, *blanked = data;
    while ((at = hep_find_key(at, (size_t)(end - at))) && end - at > HEP_KEY_HEADER) {
        const char *key = at + HEP_KEY_HEADER;
        size_t length = (size_t)(unsigned char)at[4] << 8 | (unsigned char)at[5];
        const char *stop = length < HEP_KEY_HEADER || length > (size_t)(end - at) ? end : at + length;
        if (key < blanked)
            key = blanked;
        if (key < stop) {
            memset(copy + (key - data), '*', (size_t)(stop - key));
            blanked = stop;
        }
        at++;
    }
}

/* A key that packets may have; borrowed. */
typedef struct {
    const char *data;
    size_t size;
} HepKey;

/* Whether `given` is one of the keys. The time that takes depends on the size of `given` and the number of keys alone. */
static inline int hep_key_known(const HepKey *keys, size_t count, const char *given, size_t size) {
    unsigned known = 0;
    for (size_t i = 0; i < count; i++) {
        const volatile char *key = keys[i].size == size ? keys[i].data : given;
        volatile unsigned char difference = keys[i].size != size;
        for (size_t at = 0; at < size; at++)
            difference |= (unsigned char)(key[at] ^ given[at]);
        known |= difference == 0;
    }
    return known;
}

#endif
