# cython: nonecheck=True
"""The Event Interface's hot path: an event is serialized once, and queued to each of its subscribers from there."""

from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_GET_SIZE
from libc.stdint cimport INT64_MAX, int64_t
from libc.string cimport memcpy, memset

from pykafkaevt.kafka.delivery cimport DeliveryBatch, log_raised
from pykafkaevt.jsonrpc.buffer cimport Buffer, acquire_buffer, release_buffer
from pykafkaevt.jsonrpc.template cimport EventTemplate, row_of
from pykafkaevt.jsonrpc.values cimport checked_method, invalid_policy, write_notification
from pykafkaevt.kafka.librdkafka cimport rd_kafka_message_t
from pykafkaevt.kafka.producer cimport Producer, Progress
from pykafkaevt.kafka.batch cimport BATCH, Batch, Records, text_of
from pykafkaevt.kafka.topic cimport monotonic_us

from pykafkaevt.sip.message import call_id as call_id_of

from pykafkaevt.errors import Error

cdef extern from "Python.h":
    PyObject** PySequence_Fast_ITEMS(object)


cdef class Subscription:
    """One subscriber of an event: a Kafka socket, its producer, and for how long."""

    def __init__(self, socket, Producer producer not None, expire):
        self.socket = socket
        self.producer = producer
        self.keyed = socket.key == "callid"
        self.refresh(expire)

    def refresh(self, expire) -> None:
        """Begin its time anew; expire: seconds, None for ever."""
        self.expire = expire
        self.deadline_us = INT64_MAX if expire is None else monotonic_us() + <int64_t> (expire * 1e6)

    @property
    def ttl(self) -> float | None:
        """Seconds left, 0 when it has expired; None for ever."""
        if self.expire is None:
            return None
        return max(0.0, (self.deadline_us - monotonic_us()) / 1e6)

    @property
    def expired(self) -> bool:
        """Whether its time is over."""
        return self.deadline_us <= monotonic_us()


cdef class Event:
    """A published event: its name, its id, and who subscribed it.

    template: the EventTemplate when fields were given. Made by EventInterface.publish_event().
    """

    def __init__(self, name, int id, fields, str invalid):
        self.name = checked_method(name)
        self.id = id
        self.template = None if fields is None else EventTemplate(name, fields, invalid=invalid)
        self.policy = invalid_policy(invalid)
        self.subscribe_all(())

    @property
    def has_subscribers(self) -> bool:
        """Whether raising it would reach anybody: a probe for before the parameters are gathered."""
        return PyTuple_GET_SIZE(self.subscriptions) != 0

    def subscribe_all(self, tuple subscriptions) -> None:
        """Set its subscriptions, all at once."""
        cdef Subscription subscription
        cdef int64_t earliest = INT64_MAX
        self.keyed = False
        for subscription in subscriptions:
            if subscription is None:
                raise TypeError("a subscription is no None")
            earliest = min(earliest, subscription.deadline_us)
            self.keyed = self.keyed or subscription.keyed
        self.next_expiry_us = earliest
        self.subscriptions = subscriptions

    def next_expiry(self) -> float | None:
        """Seconds until the first of its subscriptions expires; None when none does."""
        if self.next_expiry_us == INT64_MAX:
            return None
        return max(0.0, (self.next_expiry_us - monotonic_us()) / 1e6)

    cdef int fresh(self) except -1:
        """Leave out subscriptions whose time is over; the interface's sweep gives their producers back."""
        if self.next_expiry_us != INT64_MAX and self.next_expiry_us <= monotonic_us():
            self.subscribe_all(tuple([one for one in self.subscriptions if not one.expired]))
        return 0

    cdef object key_of(self, object call_id, object sip_message):
        """The Call-ID, when a subscription wants it."""
        if not self.keyed:
            return None
        if call_id is None and sip_message is not None:
            return call_id_of(sip_message)
        return call_id

    def raise_one(self, params, pairs, call_id, sip_message, report) -> int:
        """Queue the event to each subscriber: how many took it, -1 when one did not."""
        cdef Buffer* buffer
        cdef Subscription subscription
        cdef Producer producer
        cdef const void* key_data
        cdef size_t key_length
        cdef int queued = 0
        cdef bint failed = False
        self.fresh()
        self.raised += 1
        cdef tuple subscriptions = self.subscriptions
        if PyTuple_GET_SIZE(subscriptions) == 0:
            return 0
        buffer = acquire_buffer()
        try:
            if self.template is not None and isinstance(params, (tuple, list)):
                params = row_of(params)
                self.template.write(
                    buffer, PySequence_Fast_ITEMS(params), PyTuple_GET_SIZE(params), self.policy
                )
            else:
                write_notification(buffer, self.name, params, pairs, self.policy)
            _key = text_of(self.key_of(call_id, sip_message), self.policy, &key_data, &key_length)
            for subscription in subscriptions:
                producer = subscription.producer
                try:
                    if producer.queue_one(
                        buffer.data, buffer.used,
                        key_data if subscription.keyed else NULL, key_length if subscription.keyed else 0,
                        NULL if report is None else <PyObject*> report,
                    ):
                        queued += 1
                    else:
                        failed = True
                except Error as error:
                    failed = self.note(subscription, error) or failed
            return -1 if failed else queued
        finally:
            release_buffer(buffer)

    def raise_many(self, rows, call_ids) -> int:
        """Queue an event per row to each subscriber: how many records were queued."""
        cdef Batch batch
        cdef Py_ssize_t n, queued = 0
        cdef Records records
        self.fresh()
        cdef tuple subscriptions = self.subscriptions
        if PyTuple_GET_SIZE(subscriptions) == 0:
            return 0
        records = Records(rows, policy=self.policy, template=self.template, method=self.name, keys=call_ids)
        batch.buffer = acquire_buffer()
        try:
            while True:
                n = records.fill(&batch)
                if n == 0:
                    break
                self.raised += n
                queued += self.queue_to_all(subscriptions, &batch, n)
        finally:
            release_buffer(batch.buffer)
        records.check(queued)
        return queued

    cdef bint note(self, Subscription subscription, error) except -1:
        """Log what a subscriber did not take; False for one that has left meanwhile, which need not have it."""
        if subscription not in self.subscriptions:
            return False
        subscription.producer.client.note(f"{self.name} not queued to {subscription.socket}: {error}")
        return True

    cdef Py_ssize_t queue_to_all(self, tuple subscriptions, Batch* batch, Py_ssize_t n) except -1:
        """Queue the n events of the batch to each subscriber; how many records were queued."""
        cdef rd_kafka_message_t[BATCH] copy
        cdef rd_kafka_message_t* messages = batch.messages
        cdef Subscription subscription
        cdef Producer producer
        cdef Progress progress
        cdef Py_ssize_t i, queued = 0
        for subscription in subscriptions:
            producer = subscription.producer
            # queueing leaves its marks in the messages: of several subscribers each has its own
            if PyTuple_GET_SIZE(subscriptions) != 1:
                memcpy(copy, batch.messages, n * sizeof(copy[0]))
                messages = copy
            if not subscription.keyed:
                for i in range(n):
                    messages[i].key = NULL
                    messages[i].key_len = 0
            memset(&progress, 0, sizeof(progress))
            try:
                producer.queue_batch(messages, n, NULL, 0, &progress)
            except Error as error:
                self.note(subscription, error)
            queued += progress.queued
        return queued


def call_reports(DeliveryBatch batch) -> None:
    """on_delivery of the interface's producers: the opaque is the callable given to raise_event(report=…)."""
    for report in batch:
        try:
            report.opaque(report)
        except Exception:
            log_raised("the report of an event", report.opaque)
