"""The group of all commands, and the one place where exceptions become exit codes."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from pykafkaevt import __version__
from pykafkaevt.errors import ConfigError, Error, SocketError

NAMES = ("demo", "check", "publish", "tail", "bridge", "ctl", "bench", "info")


class WrongUsage(click.ClickException):
    """A text on the command line that cannot be used, found after the arguments were parsed."""

    exit_code = 2


class Commands(click.Group):
    """Commands in modules of their own name, imported when asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names in the order of the help."""
        return list(NAMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name not in NAMES:
            return None
        command: click.Command = getattr(import_module(f"pykafkaevt.cli.{cmd_name}"), cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """As click's; SocketError and ConfigError exit with 2, other errors of pykafkaevt and Ctrl-C with 1."""
        try:
            return super().invoke(ctx)
        except (ConfigError, SocketError) as error:
            raise WrongUsage(str(error)) from error
        except ModuleNotFoundError:
            raise
        except (Error, ImportError) as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt as error:
            raise click.ClickException("interrupted") from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def commands() -> None:
    """Telephony events into Apache Kafka.

    \b
    A SOCKET is kafka:BROKERS/TOPIC or kafka:BROKERS/TOPIC?PROPERTIES
      BROKERS     HOST or HOST:PORT, separated by commas;
                  embedded: a broker inside the process
      PROPERTIES  g.NAME=VALUE (librdkafka's global ones),
                  t.NAME=VALUE (of the topic), key=callid, separated by &

    Exit codes: 0 done, 1 failed at run time, 2 wrong usage.
    """
