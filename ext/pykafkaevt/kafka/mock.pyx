"""librdkafka's mock cluster: brokers inside the process, for trying and for testing."""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int16_t, int32_t
from posix.types cimport pid_t
from posix.unistd cimport getpid

from pykafkaevt.kafka.library cimport delivery_error, table
from pykafkaevt.kafka.librdkafka cimport (
    RD_KAFKA_RESP_ERR_NO_ERROR, rd_kafka_conf_t, rd_kafka_mock_cluster_t, rd_kafka_resp_err_t, rd_kafka_t, rdkafka_api,
)

from pykafkaevt.kafka.process cimport destroy_guarded, new_guarded

from pykafkaevt.errors import Closed, Error

cdef const rdkafka_api* api = table()


cdef class MockCluster:
    """A cluster of `brokers` mock brokers on loopback ports. Source: librdkafka rdkafka_mock.h."""

    cdef rd_kafka_t* rk                       # owned: the mock cluster lives in a client instance
    cdef rd_kafka_mock_cluster_t* cluster     # owned
    cdef pid_t owner                          # the process whose threads the brokers are
    cdef readonly str bootstrap_servers       # host:port of each, joined by commas

    def __init__(self, int brokers):
        cdef char reason[512]
        if brokers < 1:
            raise ValueError(f"a cluster needs 1 broker or more, not {brokers}")
        self.shut()
        cdef rd_kafka_conf_t* conf = api.conf_new()
        # the instance only carries the cluster and connects nowhere: its warning about that is of no use
        api.conf_set(conf, "log_level", "2", reason, sizeof(reason))
        self.owner = getpid()
        self.rk = new_guarded(conf, reason, sizeof(reason))
        if self.rk == NULL:
            raise Error(f"the embedded broker did not start: {reason.decode('utf-8', 'replace')}")
        self.cluster = api.mock_cluster_new(self.rk, brokers)
        if self.cluster == NULL:
            raise Error("the embedded broker did not start: librdkafka made no mock cluster")
        self.bootstrap_servers = api.mock_cluster_bootstraps(self.cluster).decode()

    def __dealloc__(self):
        self.shut()

    cdef void shut(self) noexcept:
        if getpid() != self.owner:
            # after fork(): the brokers' threads stayed in the parent, and ending them would wait for ever
            return
        with nogil:
            if self.cluster != NULL:
                api.mock_cluster_destroy(self.cluster)
                self.cluster = NULL
            if self.rk != NULL:
                destroy_guarded(self.rk)
                self.rk = NULL

    def close(self) -> None:
        """End the brokers; records that are only here are gone."""
        self.shut()

    cdef int check(self, rd_kafka_resp_err_t err, str doing) except -1:
        if err != RD_KAFKA_RESP_ERR_NO_ERROR:
            raise delivery_error(err, doing)
        return 0

    cdef int open(self) except -1:
        if self.cluster == NULL or getpid() != self.owner:
            raise Closed("the embedded broker is closed, or another process's")
        return 0

    def create_topic(self, str topic, int partitions=4, int replication=1) -> None:
        """Make a topic. Raises DeliveryError when librdkafka refuses it."""
        self.open()
        self.check(api.mock_topic_create(self.cluster, topic.encode(), partitions, replication), f"topic {topic}")

    def set_down(self, int32_t broker_id) -> None:
        """Close the broker's connections and refuse new ones; broker IDs start at 1."""
        self.open()
        self.check(api.mock_broker_set_down(self.cluster, broker_id), f"broker {broker_id}")

    def set_up(self, int32_t broker_id) -> None:
        """Let the broker take connections again."""
        self.open()
        self.check(api.mock_broker_set_up(self.cluster, broker_id), f"broker {broker_id}")

    def set_rtt_ms(self, int32_t broker_id, int ms) -> None:
        """Delay the broker's answers by `ms` milliseconds."""
        self.open()
        self.check(api.mock_broker_set_rtt(self.cluster, broker_id, ms), f"broker {broker_id}")

    def push_errors(self, int16_t api_key, codes) -> None:
        """The next requests with this Kafka API key are answered with these error codes, in order; [] clears them."""
        cdef list listed = [int(code) for code in codes]
        cdef size_t i, n = len(listed)
        cdef rd_kafka_resp_err_t* errors
        self.open()
        if n == 0:
            api.mock_clear_request_errors(self.cluster, api_key)
            return
        errors = <rd_kafka_resp_err_t*> PyMem_Malloc(n * sizeof(rd_kafka_resp_err_t))
        if errors == NULL:
            raise MemoryError()
        try:
            for i in range(n):
                errors[i] = listed[i]
            api.mock_push_request_errors_array(self.cluster, api_key, n, errors)
        finally:
            PyMem_Free(errors)
