"""What is to be said of the figures in words: where they are from, and what is to be known of them."""

from __future__ import annotations

from pykafkaevt.bench.runner import Report


def machine_text(report: Report) -> str:
    """The machine on one line."""
    machine = report.about["machine"]
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_mb'] / 1024:.0f} GB, {machine['system']}, "
        f"load average {machine['load_average']} before"
    )


def versions_text(report: Report) -> str:
    """All versions on one line."""
    return ", ".join(f"{name} {version}" for name, version in report.about["versions"].items())


def settings_text(report: Report) -> str:
    """The settings of all sides on one line."""
    return " ".join(f"{name}={value}" for name, value in report.settings.items())


def facts(report: Report) -> dict[str, str]:
    """Where the figures are from, by what it is."""
    run = ", ".join(f"{name} {value}" for name, value in report.run.items() if value is not None)
    return {
        "command": report.about["command"],
        "date": report.about["date"],
        "machine": machine_text(report),
        "versions": versions_text(report),
        "run": f"{report.socket}: {run}",
        "settings of every side": settings_text(report),
    }


def remarks(report: Report) -> list[str]:
    """What is to be known of the figures, and the peers that did not run."""
    lines = []
    if report.socket.startswith("kafka:embedded/"):
        lines.append("The embedded broker runs inside each measured process: its CPU and memory are in the figures.")
    if "java" in report.sides():
        lines.append("java sends no keys; its CPU is that of the whole JVM, its start included.")
    lines += [f"{name} is absent: {reason}" for name, reason in report.absent.items()]
    lines += [f"{name} failed: {reason}" for name, reason in report.broken.items()]
    return lines
