"""Values of properties that are read from the environment or a file: `@env:NAME`, `@file:PATH`; `@@…` is `@…` itself.

They are read when a client is made. Until then a socket holds them as written.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable

from pykafkaevt.errors import ConfigError
from pykafkaevt.secrets import is_secret

LARGEST = 65536  # bytes of a value
PART = 4  # characters that the start of a value has at least where a reason is cut
QUOTED = re.compile('"([^"]+)"')
ENVIRONMENT, FILE = "@env:", "@file:"


def is_reference(value: str) -> bool:
    """Whether a property's value is read from elsewhere; it is no secret itself."""
    return value.startswith((ENVIRONMENT, FILE))


def shown(name: str, value: str) -> str:
    """The value of a property, as written, for people to see: `***` for a secret."""
    return "***" if is_secret(name) and not is_reference(value) else value


def resolved(property: str, value: str) -> str:
    """What a value stands for; property: its name, for the ConfigError when that is not to be had.

    Of a file that is its text without a newline at the end.
    """
    if not value.startswith("@"):
        return value
    if value.startswith("@@"):
        return value[1:]
    if value.startswith(ENVIRONMENT):
        return _of_environment(property, value.removeprefix(ENVIRONMENT))
    if value.startswith(FILE):
        return _of_file(property, value.removeprefix(FILE))
    raise ConfigError(property, "a value that begins with '@' is @env:NAME or @file:PATH; write @@ for the '@' itself")


def all_resolved(prefix: str, properties: Iterable[tuple[str, str]]) -> tuple[list[tuple[str, str]], list[str]]:
    """(name, value) of each property, and the values among them that must not be shown. Raises ConfigError.

    prefix: theirs in a socket's text.
    """
    found, hidden = [], []
    for name, written in properties:
        value = resolved(prefix + name, written)
        found.append((name, value))
        if value and (is_secret(name) or is_reference(written)):
            hidden.append(value)
    return found, hidden


def without(hidden: Iterable[str], text: str) -> str:
    """A reason of librdkafka's, which may repeat a value that must not be shown.

    It may repeat one word of a list in quotes too, or the start of a value where the reason is cut.
    """
    values = sorted(hidden, key=len, reverse=True)
    if not values:
        return text
    # a character that the cut divided
    text = text.rstrip("\ufffd")
    for value in values:
        text = text.replace(value, "***")
    text = QUOTED.sub(lambda quoted: '"***"' if any(quoted[1] in value for value in values) else quoted[0], text)
    for value in values:
        for size in range(min(len(value), len(text)), PART - 1, -1):
            if text.endswith(value[:size]):
                text = text[:-size] + "***"
                break
    return text


def _of_environment(property: str, name: str) -> str:
    value = os.environ.get(name)
    if value is None:
        raise ConfigError(property, f"there is no environment variable {name!r}")
    return _checked(property, f"the environment variable {name!r}", os.fsencode(value))


def _of_file(property: str, path: str) -> str:
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError(property, f"{path!r} is no regular file")
            text = file.read(LARGEST + 3)
    except OSError as error:
        raise ConfigError(property, f"{path!r}: {error.strerror}") from error
    newline = 2 if text.endswith(b"\r\n") else text.endswith(b"\n")
    return _checked(property, repr(path), text[: len(text) - newline])


def _open_at_once(path: str, flags: int) -> int:
    """A FIFO that nobody writes to would be waited for."""
    return os.open(path, flags | os.O_NONBLOCK)


def _checked(property: str, place: str, value: bytes) -> str:
    """The text; an error says where it came from and never what it is."""
    if len(value) > LARGEST:
        raise ConfigError(property, f"{place} has more than {LARGEST} bytes")
    if b"\0" in value:
        raise ConfigError(property, f"{place} has a zero byte")
    try:
        return value.decode()
    except UnicodeDecodeError:
        # without the cause, which holds the value
        raise ConfigError(property, f"{place} is not UTF-8") from None
