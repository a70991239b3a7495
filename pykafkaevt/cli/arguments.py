"""The socket as an argument or option of a command."""

from __future__ import annotations

import click

from pykafkaevt.errors import SocketError
from pykafkaevt.sockets import KafkaSocket, parse_socket


def kafka_socket(text: str) -> KafkaSocket:
    """The type of a click parameter: a bad socket is wrong usage, shown with a caret at the place."""
    try:
        return parse_socket(text)
    except SocketError as error:
        raise click.BadParameter(str(error)) from error


def is_embedded(socket: KafkaSocket) -> bool:
    """Whether the socket means the broker inside the process."""
    return socket.brokers == ("embedded",)
