"""Children and threads of a cell's process."""

import faulthandler
import os
import signal
import sys
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.races.subjects import Subject

CHILD_SECONDS = 20  # a child that runs longer says where it stands and is ended


def native_threads() -> int:
    """The threads of this process, librdkafka's too."""
    return len(os.listdir("/proc/self/task"))


def fork(subject: "Subject", prefix: str) -> None:
    """Fork; the child uses what its parent has open and tells its account. AssertionError unless it ends with 0."""
    pid = os.fork()
    if pid == 0:
        run_child(subject, prefix)
    _, status = os.waitpid(pid, 0)
    if status:
        raise AssertionError(f"a forked child ended with {os.waitstatus_to_exitcode(status)}; see its lines above")


def run_child(subject: "Subject", prefix: str) -> None:
    """The child, to its end: by os._exit(), as multiprocessing's children."""
    status = 1
    try:
        # not dump_traceback_later(): it waits for the thread it has in the parent
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        faulthandler.register(signal.SIGALRM, chain=True)
        signal.alarm(CHILD_SECONDS)
        account = subject.in_child(prefix)
        account.whole = subject.world.whole
        account.retried = subject.account.retried
        subject.world.tell(account)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)
