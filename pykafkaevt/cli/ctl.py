"""`pykafkaevt ctl`: a request to a running bridge, and its answer."""

from __future__ import annotations

import json
import socket
import sys
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import click

from pykafkaevt.bridge.http_token import read_token
from pykafkaevt.cli.display import printable
from pykafkaevt.errors import ConfigError

CONTROL: Final = "/run/pykafkaevt/control.sock"
PATIENCE: Final = 30  # seconds for an answer

METHODS: Final = """\b
Methods:
  event_subscribe event=E socket=SOCKET [expire=SECONDS]
                     send an event to a Kafka socket too; expire=0 ends that
  events_list        the events seen so far
  kafka_stats        every counter of the bridge
  raise_event event=E [params=JSON]
                     raise an event as if it had been received
  reload             read the configuration file again
  subscribers_list [event=E] [socket=SOCKET]
                     who has subscribed
  which              the names of the methods

\b
Example:
  pykafkaevt ctl kafka_stats
  pykafkaevt ctl event_subscribe event=E_ACC_CDR 'socket=kafka:h:9092/cdr?key=callid' expire=600
  pykafkaevt ctl raise_event '{"event": "E_TEST", "params": {"n": 1}}'
"""


@click.command(epilog=METHODS)
@click.option(
    "--control",
    metavar="PATH",
    envvar="PYKAFKAEVT_CONTROL",
    default=CONTROL,
    show_default=True,
    help="The bridge's control socket; also the environment's PYKAFKAEVT_CONTROL.",
)
@click.option("--http", metavar="URL", help="Ask by HTTP instead, as http://127.0.0.1:9464.")
@click.option("--http-token", metavar="FILE", help="The file of the bridge's --http-token: HTTP only reads without.")
@click.argument("method")
@click.argument("params", metavar="[NAME=VALUE... | JSON]", nargs=-1)
def ctl(control: str, http: str | None, http_token: str | None, method: str, params: tuple[str, ...]) -> None:
    """Call a METHOD of a running bridge and print its result as JSON.

    Parameters are NAME=VALUE, or all of them one JSON object, or an array in their order. Exits with 1 when the
    bridge does not answer or answers with an error.
    """
    request: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "id": 1}
    if params:
        request["params"] = parsed(params)
    body = json.dumps(request).encode()
    try:
        answer = json.loads(ask_socket(control, body) if http is None else ask_http(http, body, http_token))
    except ConfigError as error:
        raise click.ClickException(printable(str(error))) from error
    except (OSError, HTTPException) as error:
        place = f"{control}: " if http is None else f"{http}: "
        raise click.ClickException(printable(f"{place}{getattr(error, 'strerror', None) or error}")) from error
    except ValueError as error:
        raise click.ClickException("the answer is no JSON: is this a bridge?") from error
    if not isinstance(answer, dict) or not ("result" in answer or isinstance(answer.get("error"), dict)):
        raise click.ClickException("the answer is no JSON-RPC: is this a bridge?")
    if "result" not in answer:
        raise click.ClickException(error_text(answer["error"]))
    # JSON in ASCII: nothing in it can steer a terminal
    click.echo(json.dumps(answer["result"], indent=2 if sys.stdout.isatty() else None))


def parsed(params: tuple[str, ...]) -> Any:
    """JSON-RPC params of the command line's. Raises click.BadParameter."""
    if len(params) == 1 and params[0].lstrip()[:1] in ("{", "["):
        try:
            return json.loads(params[0])
        except ValueError as error:
            raise click.BadParameter(f"no JSON: {error}") from error
    named = {}
    for text in params:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.BadParameter("a parameter is NAME=VALUE, or all are one JSON object or array")
        if name in named:
            raise click.BadParameter(f"{name} is given twice")
        named[name] = value
    return named


def ask_socket(path: str, body: bytes) -> bytes:
    """The bridge's answer by its control socket, a line. Raises OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(PATIENCE)
        client.connect(path)
        client.sendall(body + b"\n")
        with client.makefile("rb") as stream:
            return stream.readline()


def ask_http(url: str, body: bytes, token: str | None) -> bytes:
    """The bridge's answer by HTTP, never through a proxy.

    token: the file it is in. Raises OSError, HTTPException; ValueError for no URL.
    """
    if not url.startswith("http://"):
        raise click.BadParameter("a URL is http://HOST:PORT", param_hint="--http")
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = read_token(Path(token)).authorization
    request = Request(f"{url.rstrip('/')}/mi", body, headers)
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=PATIENCE) as response:
            answer: bytes = response.read()
            return answer
    except HTTPError as error:
        raise OSError(0, f"{error.code} {error.read(200).decode('utf-8', 'replace').strip()}") from error


def error_text(error: dict[str, Any]) -> str:
    """A JSON-RPC error object in words; lines stay lines, for a bad socket is shown with its place below it."""
    data = error.get("data")
    text = f"{error.get('message')} ({error.get('code')}){'' if data is None else f': {data}'}"
    return "\n".join(printable(line) for line in text.split("\n"))
