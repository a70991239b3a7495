"""What the commands show: bytes of others on a terminal, error codes, bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


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


def progress(console: Console) -> Progress:
    """Bars that vanish when they are done; nothing of them when the output is no terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    return Progress(
        TextColumn("{task.description:<20}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
