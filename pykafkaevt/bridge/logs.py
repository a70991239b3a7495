"""Logs of the daemon: one record a line on stderr, text or JSON, safe whatever bytes peers sent."""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timezone
from typing import Any, Final, TextIO

import orjson

# what logging itself puts into a record; the rest came with extra=
OWN: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}


def configure(log_format: str = "text", log_level: str = "info", stream: TextIO | None = None) -> None:
    """Send the records of all loggers to the stream (stderr) in that form, from that level on; again replaces it.

    log_format: `text` or `json`; log_level: a level's name in any case.
    """
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonLines() if log_format == "json" else TextLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(log_level.upper())


class TextLines(logging.Formatter):
    """`2026-01-31T12:00:00.123Z WARNING pykafkaevt.bridge: message name=value`, values with blanks in quotes."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record; a traceback follows as the field `exception`."""
        line = [f"{time_of(record)} {record.levelname} {record.name}: {record.getMessage()}"]
        line += [f"{name}={shown(value)}" for name, value in fields_of(self, record).items()]
        return escaped(" ".join(line))


class JsonLines(logging.Formatter):
    """`{"time":…,"level":…,"logger":…,"message":…}` with the extra fields behind; time as in RFC 3339, UTC."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record: valid JSON and printable, whatever the fields hold."""
        line = {
            "time": time_of(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        # a field of one of those names must not take its place
        line.update((f"{name}_" if name in line else name, value) for name, value in fields_of(self, record).items())
        try:
            text = orjson.dumps(line, default=plain, option=orjson.OPT_NON_STR_KEYS).decode()
        except TypeError:
            # lone surrogates, integers beyond 64 bits
            text = json.dumps(line, default=plain, ensure_ascii=False).encode(errors="replace").decode()
        return escaped(text)


def fields_of(formatter: logging.Formatter, record: logging.LogRecord) -> dict[str, Any]:
    """What came with `extra=`, and the traceback when there is one."""
    fields = {name: value for name, value in record.__dict__.items() if name not in OWN}
    if record.exc_info and record.exc_info[0] is not None:
        fields["exception"] = formatter.formatException(record.exc_info)
    return fields


def time_of(record: logging.LogRecord) -> str:
    """When the record was made, in UTC with milliseconds."""
    time = datetime.fromtimestamp(record.created, timezone.utc)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def plain(value: Any) -> Any:
    """A value of a type JSON has none for: bytes as text, others by str."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def shown(value: Any) -> str:
    """A field's value in a text line: in quotes, as in JSON, unless it is one plain word."""
    text: str = plain(value)
    if text and not any(c in ' "=\\' or not c.isprintable() for c in text):
        return text
    return json.dumps(text, ensure_ascii=False)


def escaped(text: str) -> str:
    """The text with every character that does not print as its JSON escape: no new line, no terminal sequence."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
