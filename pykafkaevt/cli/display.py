"""Bytes of others on a terminal."""

from __future__ import annotations


def printable(data: bytes | str) -> str:
    """The text with what does not print (control and format characters, invalid UTF-8) as Python's escapes.

    No terminal escape sequence survives; a backslash stays as it is, for people read JSON here.
    """
    text = data if isinstance(data, str) else data.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
