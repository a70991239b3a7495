"""The `pykafkaevt` command."""

from __future__ import annotations

import sys

# what a command imports, and the extra that brings it
PARTS = {
    "click": "cli",
    "dpkt": "cli",
    "rich": "cli",
    "aiohttp": "bridge",
    "msgspec": "bridge",
    "prometheus_client": "bridge",
    "sdnotify": "bridge",
    "tomli": "bridge",
}


def main() -> None:
    """Run the command with the process's arguments; ends in SystemExit 0, 1 (failed) or 2 (wrong usage)."""
    try:
        from pykafkaevt.cli.commands import commands  # noqa: PLC0415

        commands(prog_name="pykafkaevt")
    except ModuleNotFoundError as error:
        extra = PARTS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        part = "command-line" if extra == "cli" else extra
        print(f"pykafkaevt needs its {part} parts: pip install 'pykafkaevt[{extra}]'", file=sys.stderr)
        raise SystemExit(2) from None
