"""Who may send to an input: networks, and keys of HEP packets."""

from ipaddress import collapse_addresses, ip_address, ip_network

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdlib cimport calloc, free

cdef extern from "ip_ranges.h" nogil:
    enum:
        IPV4_SIZE
        IPV6_SIZE

    bint ip_ranges_hold(IpRanges ranges, const void* address, size_t size)
    bint ip_ranges_hold_sender(IpRanges ipv4, IpRanges ipv6, const void* sender, size_t size)


cdef bint admits_sender(const Rules* rules, const msghdr* datagram) noexcept nogil:
    return ip_ranges_hold_sender(rules.ipv4, rules.ipv6, datagram.msg_name, datagram.msg_namelen)


@cython.final
cdef class Access:
    """The rules of one input; they never change.

    networks: in CIDR notation, whose addresses may send; none: all may. hep_keys: one of them must be in a HEP packet;
    none: a packet need not have any. They are never shown. Raises ValueError.
    """

    def __cinit__(self, networks=(), hep_keys=()):
        cdef Py_ssize_t i
        cdef bytes key
        given = [ip_network(network) for network in networks]
        self.texts = [text.encode() for text in hep_keys]
        self.keys = <HepKey*> calloc(len(self.texts) or 1, sizeof(HepKey))
        if self.keys == NULL:
            raise MemoryError()
        for i, key in enumerate(self.texts):
            self.keys[i].data, self.keys[i].size = PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key)
        self.rules.hep_keys.keys, self.rules.hep_keys.count = self.keys, len(self.texts)
        self.rules.by_address = len(given) > 0
        self.rules.ipv4 = self.ranges(IPV4_SIZE, [network for network in given if network.version == 4])
        self.rules.ipv6 = self.ranges(IPV6_SIZE, [network for network in given if network.version == 6])

    def __dealloc__(self):
        free(self.keys)

    cdef IpRanges ranges(self, size_t size, list networks):
        """The addresses of networks of one version."""
        cdef IpRanges found
        cdef bytes bounds = b"".join(
            one.network_address.packed + one.broadcast_address.packed for one in collapse_addresses(networks)
        )
        self.texts.append(bounds)
        found.bounds, found.count = PyBytes_AS_STRING(bounds), PyBytes_GET_SIZE(bounds) // (2 * size)
        return found

    def admits(self, str host not None) -> bool:
        """Whether the peer of a connection may send; host: its IP address as a socket gives it."""
        cdef bytes packed
        cdef const char* address
        if not self.rules.by_address:
            return True
        given = ip_address(host)
        packed = (getattr(given, "ipv4_mapped", None) or given).packed
        address = packed
        if len(packed) == IPV4_SIZE:
            return ip_ranges_hold(self.rules.ipv4, address, IPV4_SIZE)
        return ip_ranges_hold(self.rules.ipv6, address, IPV6_SIZE)
