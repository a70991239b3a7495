"""A broker that asks who is there: TLS, SASL and ACLs, each kind of listener at a port of its own."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from tests.kafka.broker import KafkaBroker, filled_in, free_ports
from tests.kafka.certificates import Certificates
from tests.kafka.records import wait_for_topic
from tests.kafka.token_server import TokenServer

LISTENERS = ("sasl_plaintext", "ssl", "sasl_ssl", "expired", "elsewhere")
ADMIN_SECONDS = 30


class SecureBroker(KafkaBroker):
    """ports: of each of LISTENERS. passwords: of each user, for PLAIN and both SCRAMs."""

    def __init__(self, folder: Path, certificates: Certificates, passwords: dict[str, str], keys: Path) -> None:
        super().__init__(folder)
        self.certificates = certificates
        self.passwords = passwords
        self.keys = keys.as_uri()
        found = free_ports(2 + len(LISTENERS))
        self.port, self.controller_port = found[:2]
        self.bootstrap_servers = f"127.0.0.1:{self.port}"
        self.ports = dict(zip(LISTENERS, found[2:], strict=True))
        self.java_options = [
            f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.{what}={self.keys}" for what in ("urls", "files")
        ]
        self.format_arguments = [
            argument
            for name, password in passwords.items()
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
            for argument in ("--add-scram", f'{mechanism}=[name="{name}",password="{password}"]')
        ]

    def settings(self) -> str:
        """Those of every broker, and the listeners."""
        own = filled_in(
            "secure.properties",
            port=self.port,
            controller_port=self.controller_port,
            **self.ports,
            ca=self.certificates.ca,
            server_certificate=self.certificates.server,
            expired_certificate=self.certificates.expired,
            elsewhere_certificate=self.certificates.elsewhere,
            plain_users=" ".join(f'user_{name}="{password}"' for name, password in self.passwords.items()),
            keys=self.keys,
        )
        return super().settings() + own
