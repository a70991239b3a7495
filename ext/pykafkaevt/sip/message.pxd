# bytes of a message, borrowed: they live as long as the message's; data is NULL when the part is absent
cdef struct Slice:
    const char* data
    size_t size

# What we read of a SIP message. A value cut out of a folded header still holds its line ends; every header
# is the first of its name.
cdef struct SipMessage:
    Slice method       # of a request; absent in a response
    Slice uri          # the Request-URI; absent in a response
    int status         # 100 to 699; 0 in a request
    Slice reason       # of a response, may be empty; absent in a request
    Slice call_id
    long long cseq     # 0 to 2**32-1; -1 when absent or no such number
    Slice cseq_method
    Slice from_uri     # without display name, angle brackets and header parameters
    Slice to_uri       # the same
    Slice user_agent

# Fills all of `sip`; 0 when the first line is neither a request line nor a status line of SIP/2.0.
cdef bint parse_message(const char* data, size_t size, SipMessage* sip) noexcept nogil

# The value of the first Call-ID header, without looking at the first line; absent when there is none.
cdef Slice find_call_id(const char* data, size_t size) noexcept nogil
