"""The `pykafkaevt` command."""

from __future__ import annotations

import sys

PARTS = ("click", "dpkt", "rich")


def main() -> None:
    """Run the command with the process's arguments; ends in SystemExit 0, 1 (failed) or 2 (wrong usage)."""
    try:
        from pykafkaevt.cli.commands import commands  # noqa: PLC0415

        commands(prog_name="pykafkaevt")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in PARTS:
            raise
        print("pykafkaevt needs its command-line parts: pip install 'pykafkaevt[cli]'", file=sys.stderr)
        raise SystemExit(2) from None
