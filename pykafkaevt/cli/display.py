"""What the commands show: bytes of others on a terminal, error codes."""

from __future__ import annotations


def printable(data: bytes | str) -> str:
    """The text with what does not print (control and format characters, invalid UTF-8) as Python's escapes.

    No terminal escape sequence survives; a backslash stays as it is, for people read JSON here.
    """
    text = data if isinstance(data, str) else data.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def error_words(code: int) -> str:
    """A librdkafka error code in words, with its name and number."""
    from pykafkaevt.kafka.library import error_name, error_text  # noqa: PLC0415

    return f"{error_text(code)} ({error_name(code)}, {code})"
