"""The peer: a bridge as one writes it with asyncio, orjson and confluent-kafka.

    python benchmarks/bridge/asyncio_bridge.py PORT [--bootstrap HOST:PORT] [--topic bridge]

Takes JSON-RPC notifications on a UDP port of 127.0.0.1, each produced as it is with its Call-ID as the key; without a
bootstrap address into an embedded broker of its own. The properties and the receive buffer are those of `pykafkaevt
bridge`. Prints "ready" when bound; ends by SIGTERM, a second after the last datagram, or when none came for 30 s, and
prints one line of JSON: received, invalid, delivered, failed, ended (CLOCK_MONOTONIC seconds of the last
acknowledgement).
"""

import argparse
import asyncio
import contextlib
import json
import signal
import socket
import time

import confluent_kafka
import orjson

from pykafkaevt import EmbeddedBroker

RECEIVE_BUFFER = 8 << 20  # bytes
SO_RCVBUFFORCE = 33  # Linux; beyond net.core.rmem_max, with CAP_NET_ADMIN
TICK = 0.01  # seconds between two looks at the delivery reports
PATIENCE = 30.0  # seconds for the first datagram


class Bridge(asyncio.DatagramProtocol):
    """Counts what it receives and what became of it."""

    def __init__(self, bootstrap, topic):
        self.topic = topic
        self.producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
        self.received = self.invalid = self.delivered = self.failed = 0

    def datagram_received(self, data, addr):
        self.received += 1
        try:
            key = orjson.loads(data)["params"]["callid"]
        except (ValueError, KeyError, TypeError):
            self.invalid += 1
            return
        while True:
            try:
                self.producer.produce(self.topic, data, key, on_delivery=self.on_delivery)
                break
            except BufferError:
                self.producer.poll(TICK)
        if self.received % 500 == 0:
            self.producer.poll(0)

    def on_delivery(self, error, message):
        if error is None:
            self.delivered += 1
        else:
            self.failed += 1


def bound(port):
    own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        own.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
    except PermissionError:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    own.bind(("127.0.0.1", port))
    return own


async def run(port, bootstrap, topic):
    bridge = Bridge(bootstrap, topic)
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    transport, _ = await loop.create_datagram_endpoint(lambda: bridge, sock=bound(port))
    print("ready", flush=True)
    received = reported = 0
    arrived = ended = time.monotonic()
    while not stopped.is_set():
        await asyncio.sleep(TICK)
        bridge.producer.poll(0)
        now = time.monotonic()
        if bridge.received != received:
            received, arrived = bridge.received, now
        if bridge.delivered != reported:
            reported, ended = bridge.delivered, now
        if now - arrived > (1.0 if received else PATIENCE):
            break
    transport.close()
    bridge.producer.flush(PATIENCE)
    if bridge.delivered != reported:
        ended = time.monotonic()
    counts = {name: getattr(bridge, name) for name in ("received", "invalid", "delivered", "failed")}
    print(json.dumps({**counts, "ended": ended}), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("port", type=int)
    parser.add_argument("--bootstrap")
    parser.add_argument("--topic", default="bridge")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        bootstrap = options.bootstrap or stack.enter_context(EmbeddedBroker()).bootstrap_servers
        asyncio.run(run(options.port, bootstrap, options.topic))


if __name__ == "__main__":
    main()
