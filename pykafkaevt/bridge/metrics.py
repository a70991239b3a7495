"""The bridge's figures as Prometheus metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

Figures = Sequence[Mapping[str, Any]]

INPUT_COUNTERS: Final = {
    "received": "Messages received.",
    "bytes": "Bytes of the messages received.",
    "queued": "Messages queued to a target.",
    "invalid": "Messages that were invalid.",
    "unrouted": "Messages that no route matched.",
    "kernel_drops": "Datagrams the kernel dropped because the receive buffer was full.",
    "refused": "Datagrams and connections from addresses that may not send; not among those received.",
    "failed_handshakes": "TLS handshakes that failed.",
}
TARGET_COUNTERS: Final = {
    "queued": "Records queued.",
    "delivered": "Records that Kafka acknowledged.",
    "failed": "Records that were given up.",
    "dropped": "Records dropped because the queue was full, or the client closed or failed.",
    "rejected": "Records that librdkafka rejected.",
    "bytes_delivered": "Bytes of the records that Kafka acknowledged.",
}
QUANTILES: Final = {"0.5": "p50", "0.9": "p90", "0.99": "p99", "1": "max"}


class Metrics(Collector):
    """A snapshot of the bridge as Prometheus metrics.

    Names are pykafkaevt_…; labels are input, reason, event, and of targets target (the socket without properties),
    topic and error.
    """

    def __init__(self, snapshot: Mapping[str, Any]) -> None:
        self.snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """Each metric once."""
        snapshot = self.snapshot
        yield gauge("info", "The version that runs.", ["version"], {(str(snapshot["version"]),): 1})
        yield gauge("start_time_seconds", "When the bridge started, since 1970.", [], {(): snapshot["started"]})
        yield gauge("ready", "1 while the bridge receives.", [], {(): snapshot["ready"]})
        yield from of_inputs(snapshot["inputs"])
        yield counter("invalid", "Invalid messages by reason.", ["reason"], labelled(snapshot["invalid"]))
        yield counter("events", "Events by name.", ["event"], labelled(snapshot["events"]))
        subscribers = Counter(one["event"] for one in snapshot["subscribers"])
        yield gauge("subscribers", "Subscribers of an event.", ["event"], labelled(subscribers))
        yield from of_targets(snapshot["targets"])


def counter(name: str, words: str, labels: list[str], values: Mapping[tuple[str, ...], float]) -> Metric:
    """A counter with a value for each tuple of label values."""
    family = CounterMetricFamily(f"pykafkaevt_{name}", words, labels=labels)
    for of, value in values.items():
        family.add_metric(of, value)
    return family


def gauge(name: str, words: str, labels: list[str], values: Mapping[tuple[str, ...], float]) -> Metric:
    """A gauge with a value for each tuple of label values."""
    family = GaugeMetricFamily(f"pykafkaevt_{name}", words, labels=labels)
    for of, value in values.items():
        family.add_metric(of, value)
    return family


def labelled(values: Mapping[str, int]) -> dict[tuple[str, ...], float]:
    """Values by the only label."""
    return {(str(name),): value for name, value in values.items()}


def of_inputs(inputs: Figures) -> Iterator[Metric]:
    """The metrics with the label input."""
    for name, words in INPUT_COUNTERS.items():
        yield counter(f"input_{name}", words, ["input"], {(one["url"],): one[name] for one in inputs})
    connections: dict[tuple[str, ...], float] = {(one["url"],): one.get("connections", 0) for one in inputs}
    yield gauge("input_connections", "Open connections of a TCP input.", ["input"], connections)


def of_targets(targets: Figures) -> Iterator[Metric]:
    """The metrics with the labels target and topic; targets that differ in properties alone are one: worst, or sum."""
    labels = ["target", "topic"]
    up: dict[tuple[str, ...], float] = {}
    in_flight: Counter[tuple[str, ...]] = Counter()
    errors: Counter[tuple[str, ...]] = Counter()
    latency: dict[tuple[str, ...], float] = {}
    for one in targets:
        of = (one["socket"], one["topic"])
        up[of] = min(up.get(of, 1), one["up"])
        in_flight[of] += one["in_flight"]
        errors.update({(*of, str(name)): count for name, count in one["errors"].items()})
        for quantile, name in QUANTILES.items():
            latency[(*of, quantile)] = max(latency.get((*of, quantile), 0), one[f"latency_{name}_us"] / 1e6)
    yield gauge("target_up", "1 while a broker of the target answers.", labels, up)
    for name, words in TARGET_COUNTERS.items():
        totals: Counter[tuple[str, ...]] = Counter()
        for one in targets:
            totals[one["socket"], one["topic"]] += one[name]
        yield counter(f"target_{name}", words, labels, totals)
    yield gauge("target_in_flight", "Records without an acknowledgement yet.", labels, in_flight)
    yield counter("target_errors", "Records given up, by librdkafka's error.", [*labels, "error"], errors)
    words = "From queueing to acknowledgement, since the start; quantile 1 is the greatest."
    yield gauge("target_latency_seconds", words, [*labels, "quantile"], latency)
