"""datagrams.h as declarations; nothing else."""

from libc.stdint cimport uint32_t

cdef extern from "datagrams.h" nogil:
    enum:
        DATAGRAMS        # received at once
        SOURCE_SIZE      # bytes of a sender's text, with its end
        MSG_TRUNC

    ctypedef struct msghdr "struct msghdr":
        void* msg_name
        unsigned int msg_namelen
        int msg_flags
    ctypedef struct mmsghdr "struct mmsghdr":
        unsigned int msg_len
        msghdr msg_hdr
    ctypedef struct iovec "struct iovec":
        void* iov_base
    ctypedef struct Datagrams:
        mmsghdr* headers
        iovec* parts

    Datagrams* datagrams_new()
    void datagrams_free(Datagrams* d)
    int datagrams_receive(Datagrams* d, int fd, int wait)
    uint32_t datagrams_drops(Datagrams* d, int i, uint32_t before)
    uint32_t datagrams_drops_now(int fd, uint32_t before)
    # writes SOURCE_SIZE bytes at most
    void datagrams_source(const msghdr* header, char* text)
    long long now_us()
