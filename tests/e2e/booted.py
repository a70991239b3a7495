"""A systemd that is booted for the tests, by systemd-nspawn in a network of its own, over this machine's root.

What is written there is gone with it. The package and the interpreter of the tests are in it under /opt, for a service
does not see /root and /home.
"""

import os
import subprocess
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path

from tests.e2e.conftest import Program

ROOT = Path(__file__).parents[2]
BOOT_SECONDS = 60
COMMAND_SECONDS = 120
# $1: an empty folder; the rest: arguments of systemd-nspawn. In a mount namespace of its own, so that all mounts end
# with it; nspawn leaves folders in /run.
BOOT = """
set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
mount -t tmpfs tmpfs /run
folder=$1
shift
exec systemd-nspawn --directory="$folder/root" --boot --private-network --register=no --keep-unit --link-journal=no \
    --console=read-only "$@" -- --unit=basic.target
"""
INTERPRETER = "/usr/local/bin/python-of-the-tests"
START_PYTHON = """#!/bin/sh
export LD_LIBRARY_PATH=/opt/python/lib PYTHONPATH=/opt/source:/opt/packages PYTHONDONTWRITEBYTECODE=1
exec /opt/python/{python} "$@"
"""


class Systemd(Program):
    """A context manager: booted, until it is left.

    leader: the number of its first process; root: its root folder, to read and write files.
    """

    def __init__(self, folder: Path) -> None:
        mounts = {"python": sys.base_prefix, "source": ROOT, "packages": sysconfig.get_paths()["purelib"]}
        (folder / "boot").mkdir()
        super().__init__(
            "systemd",
            folder,
            *("unshare", "--mount", "--propagation", "private", "sh", "-c", BOOT, "sh", folder / "boot"),
            *(f"--bind-ro={path}:/opt/{name}" for name, path in mounts.items()),
        )

    def __enter__(self) -> "Systemd":
        super().__enter__()
        try:
            self.wait_until(self.booted, BOOT_SECONDS)
            self.root = Path(f"/proc/{self.leader}/root")
            self.install()
        except BaseException:
            self.__exit__()
            raise
        return self

    def booted(self) -> bool:
        """Whether services may be started."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        # nspawn has other children before: those are not in the container yet
        self.leader = next((number for number in children if self.is_systemd(number)), "")
        return bool(self.leader) and self.run("systemctl", "is-active", "basic.target", check=False) == "active"

    @staticmethod
    def is_systemd(number: str) -> bool:
        """Whether a process is the first one of a container."""
        with suppress(OSError):
            is_inside = os.readlink(f"/proc/{number}/ns/pid") != os.readlink("/proc/self/ns/pid")
            return is_inside and Path(f"/proc/{number}/comm").read_text() == "systemd\n"
        return False

    def install(self) -> None:
        """The interpreter, and the command where the unit has it."""
        python = Path(sys.executable).resolve().relative_to(Path(sys.base_prefix).resolve())
        self.write(INTERPRETER, START_PYTHON.format(python=python), 0o755)
        self.write("/usr/local/bin/pykafkaevt", f'#!/bin/sh\nexec {INTERPRETER} -m pykafkaevt "$@"\n', 0o755)

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """A file in it."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def run(self, *command: str, check: bool = True) -> str:
        """What a command in it, as root, prints, errors besides. check: AssertionError unless it ends with 0."""
        done = subprocess.run(
            ["nsenter", "--all", f"--target={self.leader}", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=COMMAND_SECONDS,
        )
        assert done.returncode == 0 or not check, f"{command}: {done.returncode}: {done.stdout}"
        return done.stdout.strip()
