"""A pytest plugin: the fixture `kafka_embedded`, an embedded broker of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pykafkaevt import EmbeddedBroker


@pytest.fixture
def kafka_embedded() -> Iterator[EmbeddedBroker]:
    """An EmbeddedBroker with one broker, ended after the test; `.bootstrap_servers` for any Kafka client."""
    # imported here: pytest loads the plugin in every run, also where pykafkaevt is not used
    from pykafkaevt import EmbeddedBroker  # noqa: PLC0415

    with EmbeddedBroker() as broker:
        yield broker
