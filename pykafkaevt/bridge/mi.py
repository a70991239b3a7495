"""OpenSIPS's MI as JSON-RPC 2.0: the methods, the checks of what they are asked, the calls of a bridge."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol

import orjson

from pykafkaevt.errors import Error, EventError
from pykafkaevt.log_rate import LogRate

logger = logging.getLogger("pykafkaevt.bridge")
bugs_rate: Final = LogRate(3, 60.0)  # of tracebacks, which a peer may cause as often as it asks

MAX_REQUEST: Final = 1 << 20  # bytes of a JSON-RPC request or batch
MAX_ANSWER: Final = 1 << 20  # bytes of the answers to one
MAX_TEXT: Final = 1000  # characters of an error
MAX_BATCH: Final = 100  # calls in a batch
MAX_EXPIRE: Final = 2**31 - 1  # seconds; more is no time a thread can wait
PATIENCE: Final = 2.0  # seconds that /readyz and others wait for the bridge to say how it is

# JSON-RPC 2.0, section 5.1; a failure of the bridge itself is 500, as OpenSIPS's MI has it
PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
FORBIDDEN: Final = 403
FAILED: Final = 500
TOO_LARGE: Final = -32000  # of those that JSON-RPC leaves to servers


class Bridge(Protocol):
    """What is controlled; it has a method for each name of METHODS but `which`, too, and all may block."""

    def faults(self) -> list[str]:
        """The inputs that no longer work and why, one a line; must not block."""

    def snapshot(self) -> dict[str, Any]:
        """Everything there is to see, JSON-able, without secrets."""


class RequestError(Exception):
    """A request answered with an error. code, message, data: those of the JSON-RPC error object."""

    def __init__(self, code: int, message: str, data: str | None = None) -> None:
        """Long texts are cut: they may repeat what was asked."""
        super().__init__(code, message, data)
        self.error = {"code": code, "message": message[:MAX_TEXT]}
        if data is not None:
            self.error["data"] = data[:MAX_TEXT]


def text(value: Any) -> str:
    """A parameter that is text. Raises ValueError."""
    if not isinstance(value, str):
        raise ValueError("must be a string")
    return value


def seconds(value: Any) -> float:
    """A parameter in seconds, a number or its text, as in OpenSIPS's MI. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("must be a number")
    try:
        number = float(value)
    except ValueError:
        raise ValueError("must be a number") from None
    if not 0 <= number <= MAX_EXPIRE:
        raise ValueError(f"must be from 0 to {MAX_EXPIRE}")
    return int(number) if number.is_integer() else number


def anything(value: Any) -> Any:
    """A parameter that the bridge checks."""
    return value


# the methods, with their parameters in the order they have when given by position
METHODS: Final[Mapping[str, Mapping[str, Callable[[Any], Any]]]] = {
    "event_subscribe": {"event": text, "socket": text, "expire": seconds},
    "events_list": {},
    "kafka_stats": {},
    "raise_event": {"event": text, "params": anything},
    "reload": {},
    "subscribers_list": {"event": text, "socket": text},
    "which": {},
}
# those that change nothing: what HTTP may call without a token
READING: Final = frozenset({"events_list", "kafka_stats", "subscribers_list", "which"})
REQUIRED: Final = {"event_subscribe": ("event", "socket"), "raise_event": ("event",)}


def arguments(method: str, params: Any) -> dict[str, Any]:
    """The arguments of a method from JSON-RPC params, by name or by position; null is a parameter not given.

    Raises RequestError.
    """
    checks = METHODS[method]
    if isinstance(params, list):
        if len(params) > len(checks):
            raise RequestError(INVALID_PARAMS, "Invalid params", f"{method} has {len(checks)} parameters at most")
        params = dict(zip(checks, params, strict=False))
    given = {}
    for name, value in (params or {}).items():
        if name not in checks:
            raise RequestError(INVALID_PARAMS, "Invalid params", f"{method} has no parameter {name!r}")
        try:
            if value is not None:
                given[name] = checks[name](value)
        except ValueError as error:
            raise RequestError(INVALID_PARAMS, "Invalid params", f"{name} {error}") from error
    for name in REQUIRED.get(method, ()):
        if name not in given:
            raise RequestError(INVALID_PARAMS, "Invalid params", f"{method} needs {name}")
    return given


def call(bridge: Bridge, method: str, given: Mapping[str, Any]) -> Any:
    """Call a method of METHODS. Raises RequestError with the code OpenSIPS's MI has for it."""
    try:
        return getattr(bridge, method)(**given)
    except EventError as error:
        raise RequestError(error.code, str(error)) from error
    except (ValueError, Error) as error:
        # without parameters it is not they that are wrong, but say the file that reload reads
        if given and isinstance(error, ValueError):
            raise RequestError(INVALID_PARAMS, "Invalid params", str(error)) from error
        raise RequestError(FAILED, str(error)) from error
    except Exception as error:
        if bugs_rate.allows():
            logger.exception("%s failed", method, extra=bugs_rate.note())
        raise RequestError(INTERNAL_ERROR, "Internal error") from error


class Calls:
    """JSON-RPC 2.0 requests to a bridge; its methods run in threads of their own, for they may block."""

    def __init__(self, bridge: Bridge) -> None:
        self.bridge = bridge
        self.callers = ThreadPoolExecutor(4, "pykafkaevt control call")
        self.lookers = ThreadPoolExecutor(1, "pykafkaevt control look")
        self.looking: asyncio.Future[dict[str, Any]] | None = None

    def close(self) -> None:
        """Call no more; calls that block are left alone."""
        self.callers.shutdown(wait=False, cancel_futures=True)
        self.lookers.shutdown(wait=False, cancel_futures=True)

    async def snapshot(self) -> dict[str, Any]:
        """The bridge's; those who ask at the same time share one. Raises asyncio.TimeoutError."""
        if self.looking is None or self.looking.done():
            loop = asyncio.get_running_loop()
            self.looking = loop.run_in_executor(self.lookers, self.bridge.snapshot)
        return await asyncio.wait_for(asyncio.shield(self.looking), PATIENCE)

    async def answer(self, message: bytes, methods: Collection[str] = METHODS) -> bytes | None:
        """The answer to a request or a batch; None when there is none: to notifications. methods: those allowed."""
        try:
            request = orjson.loads(message)
        except orjson.JSONDecodeError as error:
            return failure(PARSE_ERROR, "Parse error", str(error))
        if not isinstance(request, list):
            return await self.answer_one(request, methods, MAX_ANSWER)
        if not request:
            return failure(INVALID_REQUEST, "Invalid Request", "an empty batch")
        if len(request) > MAX_BATCH:
            return failure(INVALID_REQUEST, "Invalid Request", f"a batch has at most {MAX_BATCH} calls")
        batch: list[bytes] = []
        left = MAX_ANSWER
        for one in request:
            answered = await self.answer_one(one, methods, left)
            if answered is not None:
                batch.append(answered)
                left = max(0, left - len(answered))
        return b"[%s]" % b",".join(batch) if batch else None

    async def answer_one(self, request: Any, methods: Collection[str], left: int) -> bytes | None:
        """The response to a request object, None to a notification. left: the bytes that its result may have."""
        number = request.get("id") if isinstance(request, dict) else None
        try:
            if not left:
                raise too_large()
            method, given = checked(request, methods)
            result: Any = sorted(methods)
            if method != "which":
                loop = asyncio.get_running_loop()
                result = await loop.run_in_executor(self.callers, call, self.bridge, method, given)
            if "id" not in request:
                return None
            answer = to_json({"jsonrpc": "2.0", "result": result, "id": number})
            if len(answer) > left:
                raise too_large()
        except RequestError as failed:
            if not isinstance(request, dict) or failed.error["code"] == INVALID_REQUEST:
                number = number if isinstance(number, (str, int, float)) and not isinstance(number, bool) else None
            elif "id" not in request:
                return None
            return to_json({"jsonrpc": "2.0", "error": failed.error, "id": number})
        return answer


def too_large() -> RequestError:
    """For a result for which the answer has no space left."""
    return RequestError(TOO_LARGE, "Answer too large", f"the answers to a request have at most {MAX_ANSWER} bytes")


def checked(request: Any, methods: Collection[str]) -> tuple[str, dict[str, Any]]:
    """The method, which must be one of `methods`, and the arguments of a request object. Raises RequestError."""
    if not isinstance(request, dict):
        raise RequestError(INVALID_REQUEST, "Invalid Request", "a request is an object")
    if request.get("jsonrpc") != "2.0":
        raise RequestError(INVALID_REQUEST, "Invalid Request", 'jsonrpc must be "2.0"')
    number = request.get("id")
    if isinstance(number, (bool, list, dict)):
        raise RequestError(INVALID_REQUEST, "Invalid Request", "id must be a string, a number or null")
    method = request.get("method")
    if not isinstance(method, str):
        raise RequestError(INVALID_REQUEST, "Invalid Request", "method must be a string")
    params = request.get("params")
    if "params" in request and not isinstance(params, (list, dict)):
        raise RequestError(INVALID_REQUEST, "Invalid Request", "params must be an object or an array")
    if method not in METHODS:
        raise RequestError(METHOD_NOT_FOUND, "Method not found")
    if method not in methods:
        raise RequestError(FORBIDDEN, "Forbidden", f"{method} by HTTP needs the token of --http-token")
    return method, arguments(method, params)


def failure(code: int, message: str, data: str) -> bytes:
    """A response to what has no id."""
    return to_json({"jsonrpc": "2.0", "error": RequestError(code, message, data).error, "id": None})


def to_json(value: Any) -> bytes:
    """JSON on one line."""
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        # lone surrogates, integers beyond 64 bits
        return json.dumps(value, default=str).encode()
