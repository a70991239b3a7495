/* A librdkafka plugin that stands for a file a client needs, as a certificate: while the file named by
 * RACES_UNUSABLE is there no client can be made with it. Source: librdkafka rdkafka_plugin.h, conf_init(). */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { FAIL = -196, NO_ERROR = 0 }; /* rd_kafka_resp_err_t */

int conf_init(void *conf, void **opaque, char *reason, size_t size) {
    const char *flag = getenv("RACES_UNUSABLE");
    (void)conf;
    *opaque = NULL;
    if (flag == NULL || access(flag, F_OK) != 0)
        return NO_ERROR;
    snprintf(reason, size, "the certificate is gone");
    return FAIL;
}
