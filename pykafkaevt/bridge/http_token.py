"""The token that lets HTTP call what changes something; this module needs nothing but Python."""

from __future__ import annotations

import hmac
import os
import stat
from pathlib import Path
from typing import Final

from pykafkaevt.errors import ConfigError

SHORTEST: Final = 16  # characters
LONGEST: Final = 1024


class Token:
    """A secret that is compared and sent, and never shown."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return "Token(***)"

    @property
    def authorization(self) -> str:
        """The value of the Authorization header."""
        return f"Bearer {self._text}"

    def admits(self, authorization: str) -> bool:
        """Whether an Authorization header has the token; takes as long for a wrong one as for the right one."""
        scheme, _, given = authorization.partition(" ")
        same = hmac.compare_digest(given.strip().encode(errors="surrogateescape"), self._text.encode())
        return same and scheme.lower() == "bearer"


def read_token(path: Path) -> Token:
    """The token that a file holds, without the white space around it.

    Raises ConfigError for a file that cannot be read, that is open to all users of the machine, or whose text is no
    token: 16 to 1024 visible ASCII characters.
    """
    try:
        # a FIFO would wait for its writer
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError("http_token", f"{path} is no regular file")
            if status.st_mode & stat.S_IRWXO:
                raise ConfigError("http_token", f"{path} is open to all users: chmod o-rwx {path}")
            text = file.read(LONGEST + 64).strip()
    except OSError as error:
        raise ConfigError("http_token", f"{path}: {error.strerror or error}") from error
    if not SHORTEST <= len(text) <= LONGEST or not all(0x21 <= byte <= 0x7E for byte in text):
        reason = f"{path} must hold {SHORTEST} to {LONGEST} visible ASCII characters and nothing else"
        raise ConfigError("http_token", reason)
    return Token(text.decode("ascii"))
