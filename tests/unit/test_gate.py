"""The gate's own test in C; make sanitize runs it under the thread sanitizer too."""

import subprocess


def test_the_gate(compile_c):
    subprocess.run([compile_c("gate")], check=True, timeout=60)
