"""The socket as an argument or option of a command."""

from __future__ import annotations

import click

from pykafkaevt.errors import SocketError
from pykafkaevt.sockets import KafkaSocket, parse_socket


class SocketType(click.ParamType):
    """A Kafka socket; a bad one is wrong usage, shown with a caret at the place."""

    name = "socket"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> KafkaSocket:
        """The parsed socket of the argument's text."""
        if isinstance(value, KafkaSocket):
            return value
        try:
            return parse_socket(str(value))
        except SocketError as error:
            self.fail(str(error), param, ctx)


SOCKET = SocketType()


def is_embedded(socket: KafkaSocket) -> bool:
    """Whether the socket means the broker inside the process."""
    return socket.brokers == ("embedded",)
