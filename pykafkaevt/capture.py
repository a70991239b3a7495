"""UDP datagrams of a packet capture (pcap or pcapng), read by dpkt."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import IO, Any, NamedTuple

import dpkt  # type: ignore[import-untyped]


class Datagram(NamedTuple):
    """A UDP datagram; time in microseconds since 1970, addresses as text."""

    time: int
    source: str
    source_port: int
    destination: str
    destination_port: int
    payload: bytes


LINK_TYPES = {
    dpkt.pcap.DLT_EN10MB: dpkt.ethernet.Ethernet,
    dpkt.pcap.DLT_NULL: dpkt.loopback.Loopback,
    dpkt.pcap.DLT_LOOP: dpkt.loopback.Loopback,
    dpkt.pcap.DLT_LINUX_SLL: dpkt.sll.SLL,
    dpkt.pcap.DLT_LINUX_SLL2: dpkt.sll2.SLL2,
}


def read_capture(file: IO[bytes]) -> Iterator[Datagram]:
    """The UDP datagrams over IPv4 and IPv6 in the order of the capture; all else is passed over.

    So are fragments of IP packets. Link types: Ethernet, BSD and OpenBSD loopback, Linux cooked (v1, v2).
    Raises ValueError for another link type and for a file that is no capture.
    """
    packets = dpkt.pcap.UniversalReader(file)
    link = LINK_TYPES.get(packets.datalink())
    if link is None:
        raise ValueError(f"link type {packets.datalink()} of the capture is not supported")
    for seconds, frame in packets:
        try:
            packet = link(frame).data
        except dpkt.UnpackError:
            continue
        if is_whole(packet) and isinstance(packet.data, dpkt.udp.UDP):
            udp = packet.data
            yield Datagram(
                round(seconds * 1_000_000),
                str(ip_address(packet.src)),
                udp.sport,
                str(ip_address(packet.dst)),
                udp.dport,
                bytes(udp.data),
            )


def is_whole(packet: Any) -> bool:
    """Whether it is an IP packet and no fragment of one."""
    if isinstance(packet, dpkt.ip.IP):
        return not (packet.mf or packet.offset)
    return isinstance(packet, dpkt.ip6.IP6) and dpkt.ip.IP_PROTO_FRAGMENT not in packet.extension_hdrs
