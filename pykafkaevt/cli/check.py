"""`pykafkaevt check`: is a socket right, and does its cluster answer?"""

from __future__ import annotations

import click

from pykafkaevt import properties
from pykafkaevt.cli.arguments import is_embedded
from pykafkaevt.cli.display import printable
from pykafkaevt.diagnosis import TOPIC_AUTHORIZATION_FAILED, Explanation, principal_of
from pykafkaevt.errors import SocketError
from pykafkaevt.references import shown
from pykafkaevt.sockets import KafkaSocket, parse_broker_id, parse_socket

NOWHERE = "127.0.0.1:1"  # a port that nothing listens on


@click.command(epilog="\b\nExample:\n  pykafkaevt check --connect 'kafka:127.0.0.1:9092/sip-events?g.linger.ms=5'")
@click.argument("text", metavar="SOCKET")
@click.option("--connect", is_flag=True, help="Ask the cluster for the topic's partitions too.")
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=10.0,
    show_default=True,
    help="Seconds that --connect waits.",
)
def check(text: str, connect: bool, timeout: float) -> None:
    """Check a SOCKET, or the [ID]SOCKET of a broker_id, and print its parts.

    librdkafka checks the properties; secrets are shown as ***. With --connect a topic that the cluster does
    not have or does not let be written to, or a partition without a leader, is a failure; no topic is made.
    """
    try:
        broker_id, socket = parse_broker_id(text) if names_a_broker_id(text) else (None, parse_socket(text))
    except SocketError as error:
        raise click.BadParameter(str(error), param_hint="'SOCKET'") from error
    bootstrap_servers = check_properties(socket)
    click.echo(describe(socket, broker_id))
    if connect:
        click.echo(cluster_state(socket, bootstrap_servers, timeout))


def names_a_broker_id(text: str) -> bool:
    """Whether the text is meant as [ID]socket: brackets before ':', ',' or '/' are an IPv6 host."""
    text = text.lstrip()
    _, bracket, rest = text.partition("]")
    return text.startswith("[") and not (bracket and rest.lstrip()[:1] in (":", "/", ","))


def check_properties(socket: KafkaSocket) -> str:
    """Check the properties, then let librdkafka do it; returns the brokers to ask. Raises ConfigError.

    A producer of the socket itself would connect to its brokers, which may make the topic at that.
    """
    from pykafkaevt import Producer  # noqa: PLC0415
    from pykafkaevt.cli.cluster import silent  # noqa: PLC0415

    properties.check_properties(socket)
    if is_embedded(socket):
        with Producer(socket) as producer:
            return producer.bootstrap_servers
    with silent():
        Producer(socket.with_properties(brokers=NOWHERE)).close()
    return socket.bootstrap_servers


def describe(socket: KafkaSocket, broker_id: str | None) -> str:
    """The parts of the socket, one a line."""
    parts = [] if broker_id is None else [("broker ID", broker_id)]
    parts += [("broker", broker) for broker in socket.brokers]
    parts += [("topic", socket.topic), ("key", socket.key or "none")]
    for prefix, given in (("g.", socket.global_properties), ("t.", socket.topic_properties)):
        parts += [("property", f"{prefix}{k}={shown(k, v)}") for k, v in given.items()]
    if (reason := properties.exposed_credentials(socket)) is not None:
        parts.append(("WARNING", reason))
    return "\n".join(f"{name:<10} {printable(value)}" for name, value in parts)


def cluster_state(socket: KafkaSocket, bootstrap_servers: str, timeout: float) -> str:
    """The topic's partitions and their leaders, one a line. Raises click.ClickException for a sick topic."""
    from confluent_kafka.admin import AdminClient  # noqa: PLC0415

    from pykafkaevt.cli.cluster import ClusterClient  # noqa: PLC0415
    from pykafkaevt.kafka.library import error_text  # noqa: PLC0415

    client = ClusterClient(AdminClient, socket, bootstrap_servers)
    # the embedded broker makes its topics when they are asked for
    metadata = client.metadata(timeout, socket.topic if is_embedded(socket) else None)
    topic = metadata.topics.get(socket.topic)
    explanation = Explanation(socket.topic, principal_of(socket.global_properties), None)
    if topic is None or topic.error is not None:
        missing = f"the cluster has no such topic, or does not let {explanation.principal} DESCRIBE it"
        reason = missing if topic is None else topic.error.str()
        raise click.ClickException(f"{bootstrap_servers}: topic {socket.topic}: {reason}")
    lines = [f"cluster    {printable(metadata.cluster_id or 'without an ID')}, brokers: {len(metadata.brokers)}"]
    leaderless = []
    for number, partition in sorted(topic.partitions.items()):
        leader = metadata.brokers.get(partition.leader)
        if leader is None:
            leaderless.append(number)
            where = "no leader"
        else:
            where = f"leader {leader.id} ({printable(leader.host)}:{leader.port})"
        replicas = f"replicas {len(partition.replicas)}, in sync {len(partition.isrs)}"
        lines.append(f"partition  {number}: {where}, {replicas}")
    if leaderless:
        click.echo("\n".join(lines))
        raise click.ClickException(f"topic {socket.topic}: no leader for partition {', '.join(map(str, leaderless))}")
    if not (is_embedded(socket) or client.may_write(timeout)):
        reason = explanation.reason(TOPIC_AUTHORIZATION_FAILED, error_text(TOPIC_AUTHORIZATION_FAILED))
        raise click.ClickException(f"{bootstrap_servers}: topic {socket.topic}: {printable(reason)}")
    return "\n".join(lines)
