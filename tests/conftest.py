"""The broker and topics of the tests, and two rules: a run of no test is a failure, and in CI so is a skip.

A skip for the platform or the Python version is no failure: its reason begins with "platform:" or "python:".
"""

import fcntl
import os
import re
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message
from confluent_kafka.admin import AdminClient, NewTopic

from tests.kafka.broker import KafkaBroker, locked, missing_programs
from tests.kafka.records import consume as read_back
from tests.kafka.records import wait_for_topic

IN_CI = os.environ.get("CI", "").lower() == "true"
ALLOWED_SKIPS = ("platform:", "python:")
ADMIN_SECONDS = 30
PARTITIONS = 4


@pytest.fixture(scope="session")
def kafka_programs() -> None:
    """Skips without Java or Maven."""
    if missing := missing_programs():
        pytest.skip(f"a Kafka broker needs {' and '.join(missing)}, or PYKAFKAEVT_TEST_BOOTSTRAP=HOST:PORT")


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The bootstrap address of a real Kafka: PYKAFKAEVT_TEST_BOOTSTRAP, or one started once for the run."""
    if address := os.environ.get("PYKAFKAEVT_TEST_BOOTSTRAP"):
        yield address
        return
    request.getfixturevalue("kafka_programs")
    with ExitStack() as stack:
        if "PYTEST_XDIST_WORKER" in os.environ:
            yield broker_of_all_workers(tmp_path_factory.getbasetemp().parent, stack)
        else:
            yield stack.enter_context(KafkaBroker()).bootstrap_servers


def broker_of_all_workers(folder: Path, stack: ExitStack) -> str:
    """Under pytest-xdist: the first worker starts the broker, and stops it when no other uses it any more."""
    address = folder / "kafka"
    users = stack.enter_context((folder / "kafka.users").open("w"))

    def wait_for_other_workers() -> None:
        with locked(folder / "kafka.lock"):
            address.unlink()
        fcntl.flock(users, fcntl.LOCK_EX)

    with locked(folder / "kafka.lock"):
        if not address.exists():
            address.write_text(stack.enter_context(KafkaBroker()).bootstrap_servers)
            stack.callback(wait_for_other_workers)
        fcntl.flock(users, fcntl.LOCK_SH)
        return address.read_text()


@pytest.fixture
def broker(kafka_programs: None) -> Iterator[KafkaBroker]:
    """A broker of the test's own, running; the test may stop() and start() it."""
    with KafkaBroker() as own:
        yield own


@pytest.fixture
def topic(kafka: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """A new topic of 4 partitions, named after the test and deleted after it."""
    name = f"{re.sub('[^A-Za-z0-9._-]+', '_', request.node.name)[:200]}-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.create_topics([NewTopic(name, PARTITIONS)])[name].result(ADMIN_SECONDS)
    wait_for_topic(admin, name, ADMIN_SECONDS)
    yield name
    admin.delete_topics([name])[name].result(ADMIN_SECONDS)


@pytest.fixture
def consume() -> Callable[..., list[Message]]:
    """tests.kafka.records.consume(bootstrap, topic, count, timeout): exactly `count` records, in order."""
    return read_back


def refuse_skip_in_ci(report: Any) -> None:
    """Turn a report that something was skipped into a failure, in CI."""
    if not (IN_CI and report.skipped) or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = reason.removeprefix("Skipped: ")
    if not reason.startswith(ALLOWED_SKIPS):
        report.outcome = "failed"
        report.longrepr = f"nothing may be skipped in CI, and this was: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    refuse_skip_in_ci(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Any:
    report = yield
    refuse_skip_in_ci(report)
    return report


class Executed:
    """Counts the tests that ran, here or in a worker of pytest-xdist."""

    def __init__(self) -> None:
        self.count = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.count += report.when == "call" and (not report.skipped or hasattr(report, "wasxfail"))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if session.config.option.collectonly or self.count:
            return
        if session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED


def pytest_configure(config: pytest.Config) -> None:
    # a run in the background has SIGINT ignored, and so would the programs that tests interrupt
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.pluginmanager.register(Executed())
