"""What threads of the queueing core share: its tests in C; make sanitize runs them under the thread sanitizer too."""

import subprocess

import pytest


@pytest.mark.parametrize("source", ["gate", "pacing", "queue_room"])
def test_what_threads_share(compile_c, source):
    subprocess.run([compile_c(source)], check=True, timeout=60)
