"""Finds and loads librdkafka, and maps its error codes to our exceptions."""

import os
from glob import escape, glob
from importlib.util import find_spec

from pykafkaevt.kafka.librdkafka cimport rd_kafka_resp_err_t, rdkafka_api, rdkafka_file, rdkafka_load

from pykafkaevt.errors import DeliveryError

MINIMUM_VERSION = "2.8.0"
cdef int MINIMUM = 0x020800ff

cdef rdkafka_api api


def candidates() -> list[str]:
    """The paths tried, in order: PYKAFKAEVT_LIBRDKAFKA, the confluent-kafka wheel's library, the system's."""
    cdef str chosen = os.environ.get("PYKAFKAEVT_LIBRDKAFKA", "")
    if chosen:
        return [chosen]
    cdef list paths = []
    spec = find_spec("confluent_kafka")
    if spec is not None and spec.origin:
        package = os.path.dirname(spec.origin)
        for folder, pattern in (
            (os.path.join(os.path.dirname(package), "confluent_kafka.libs"), "librdkafka*.so*"),
            (os.path.join(package, ".dylibs"), "librdkafka*.dylib"),
        ):
            paths.extend(sorted(glob(os.path.join(escape(folder), pattern))))
    return [*paths, "librdkafka.so.1"]


cdef void load() except *:
    cdef char reason[512]
    cdef list tried = []
    for path in candidates():
        if rdkafka_load(os.fsencode(path), &api, reason, sizeof(reason)) != 0:
            tried.append(f"{path}: {reason.decode('utf-8', 'replace')}")
        elif api.version() < MINIMUM:
            tried.append(f"{path}: version {api.version_str().decode()} is older than {MINIMUM_VERSION}")
        else:
            return
    raise ImportError(
        "pykafkaevt found no librdkafka it can use (set PYKAFKAEVT_LIBRDKAFKA to the path of one); tried:\n  "
        + "\n  ".join(tried)
    )


load()


cdef const rdkafka_api* table() noexcept:
    return &api


def library_path() -> str:
    """The file librdkafka was loaded from."""
    cdef const char* path = rdkafka_file(&api)
    return os.fsdecode(path) if path != NULL else "unknown"


def library_version() -> str:
    """The version of the loaded librdkafka, like 2.16.0."""
    return api.version_str().decode()


def error_text(int code) -> str:
    """librdkafka's text for an error code (rd_kafka_err2str)."""
    return text_of_error(api.err2str(code))


def error_name(int code) -> str:
    """librdkafka's short name for an error code, like _MSG_TIMED_OUT (rd_kafka_err2name)."""
    return text_of_error(api.err2name(code))


# What a later try of the same record may mend: librdkafka's _TRANSPORT, _MSG_TIMED_OUT, _ALL_BROKERS_DOWN, _TIMED_OUT,
# _QUEUE_FULL, _PURGE_QUEUE, _PURGE_INFLIGHT, and the codes of Kafka's protocol that its error table marks as retriable.
cdef frozenset RETRIABLE = frozenset(
    (-195, -192, -187, -185, -184, -152, -151, 2, 3, 5, 6, 7, 9, 13, 14, 15, 16, 19, 20, 41, 56, 72, 74, 75, 89)
)


cdef str text_of_error(const char* text):
    return text.decode("utf-8", "replace") if text != NULL else ""


cdef object delivery_error(rd_kafka_resp_err_t err, str doing, object explanation=None):
    cdef str reason = error_text(err)
    if explanation is not None:
        reason = explanation.reason(err, reason)
    return DeliveryError(err, f"{doing}: {reason}" if doing else reason, err in RETRIABLE)
