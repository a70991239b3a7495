"""`python .ci/audit.py LOCKED ...`: known vulnerabilities of what requirements files lock, by pip-audit.

Ends with 1 when there are some. Where no advisory service answers it says so and ends with 0: a build without a network
can do nothing about it. Whether one answers shows in a release that is known to be vulnerable, asked for with the
others: pip-audit itself takes a service that knows no package for one that knows no vulnerability.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

SERVICES = ("pypi", "osv")
VULNERABLE = ("pycrypto", "2.6.1")  # has no successor: nothing here will ever depend on it
SECONDS = 300


def locked(files):
    """(name, version) of each package, for whatever platform and Python it is."""
    texts = [Path(file).read_text() for file in files]
    return sorted({pin for text in texts for pin in re.findall(r"^([\w.-]+)==([\w.!+]+)", text, re.MULTILINE)})


def rounds(pins):
    """Lists of pins in which no name stands twice, as pip-audit wants them."""
    while pins:
        now = dict(reversed(pins))
        yield list(now.items())
        pins = [pin for pin in pins if pin not in now.items()]


def ask(service, pins):
    """pip-audit's dependencies by (name, version). Raises RuntimeError where the service does not answer."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("".join(f"{name}=={version}\n" for name, version in [*pins, VULNERABLE]))
        file.flush()
        command = [sys.executable, "-m", "pip_audit", "-s", service, "-r", file.name, "--no-deps", "--disable-pip"]
        done = subprocess.run(
            [*command, "-f", "json", "--progress-spinner", "off", "--timeout", "30"],
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
    try:
        found = {(one["name"], one.get("version")): one for one in json.loads(done.stdout)["dependencies"]}
    except ValueError:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no answer"])[-1][:200]) from None
    if not found.get(VULNERABLE, {}).get("vulns"):
        raise RuntimeError(f"it knows no vulnerability of {'=='.join(VULNERABLE)}, which has some")
    return found


def audit(service, pins):
    """A line for each vulnerability, and why the service has not answered about all packages, None when it has."""
    lines = []
    unknown = []
    for part in rounds(pins):
        try:
            found = ask(service, part)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            return lines, str(error)
        for name, version in part:
            if (name, version) not in found:
                unknown.append(f"{name}=={version}")
                continue
            for vulnerability in found[name, version]["vulns"]:
                fixed = ", ".join(vulnerability["fix_versions"]) or "nothing yet"
                lines.append(f"{name}=={version}: {vulnerability['id']}, fixed in {fixed}")
    return lines, f"it does not know {', '.join(unknown)}" if unknown else None


def main(files):
    """The exit code."""
    pins = locked(files)
    reasons = []
    for service in SERVICES:
        lines, reason = audit(service, pins)
        if lines or reason is None:
            print(*lines, f"audit: {len(pins)} packages, {len(lines)} known vulnerabilities by {service}", sep="\n")
            return int(bool(lines))
        reasons.append(f"{service}: {reason}")
    print(f"AUDIT NOT DONE: no advisory service answers here, and {len(pins)} packages are NOT checked for known")
    print("vulnerabilities. Run `make audit` where one does.", *reasons, sep="\n    ")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
