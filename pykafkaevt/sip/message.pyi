from typing import Final, NamedTuple, TypeAlias

_Message: TypeAlias = bytes | bytearray | memoryview | str

SIP_EVENT: Final[str]
SIP_FIELDS: Final[tuple[str, ...]]

class SipHeaders(NamedTuple):
    method: str | None
    uri: str | None
    status: int | None
    reason: str | None
    call_id: str | None
    cseq: int | None
    cseq_method: str | None
    from_uri: str | None
    to_uri: str | None
    user_agent: str | None

def call_id(message: _Message) -> str | None: ...
def headers(message: _Message) -> SipHeaders | None: ...
