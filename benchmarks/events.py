"""The synthetic SIP event that the benchmarks send: 277 bytes as JSON-RPC, with a Call-ID key of 25 bytes."""

import random

FIELDS = ("method", "callid", "cseq", "from_uri", "to_uri", "src_ip", "src_port", "dst_ip", "dst_port", "time")
METHOD = "E_SIP"


def rows(count, seed=7):
    """`count` tuples of values, four messages a call; the same for the same seed."""
    random_ = random.Random(seed)
    made = []
    for n in range(count):
        if n % 4 == 0:
            call_id = f"{random_.getrandbits(64):016x}@10.1.2.3"
            caller, callee = (f"sip:{random_.randrange(10**7):07}@a.example" for _ in "ab")
        made.append(
            (
                ("INVITE", "NOTIFY", "UPDATE", "CANCEL")[n % 4],
                call_id,
                1 + n % 4,
                caller,
                callee,
                "192.0.2.10",
                5060,
                "192.0.2.11",
                5062,
                1790000000000000 + n,
            )
        )
    return made


def as_dict(row):
    """The notification of one row as a program without templates builds it."""
    method, callid, cseq, from_uri, to_uri, src_ip, src_port, dst_ip, dst_port, time = row
    return {
        "jsonrpc": "2.0",
        "method": METHOD,
        "params": {
            "method": method,
            "callid": callid,
            "cseq": cseq,
            "from_uri": from_uri,
            "to_uri": to_uri,
            "src_ip": src_ip,
            "src_port": src_port,
            "dst_ip": dst_ip,
            "dst_port": dst_port,
            "time": time,
        },
    }
