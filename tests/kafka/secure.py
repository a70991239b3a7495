"""A broker that asks who is there: TLS, SASL and ACLs, each kind of listener on a port of its own."""

from collections.abc import Iterable
from pathlib import Path

from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from tests.kafka.broker import KafkaBroker, filled_in, free_ports
from tests.kafka.certificates import Certificates

# TLS without a client's certificate, with one, and two whose own certificate is no good.
LISTENERS = ("sasl_plaintext", "sasl_ssl", "tls", "ssl", "expired", "elsewhere")
ADMIN_SECONDS = 30


class SecureBroker(KafkaBroker):
    """A broker with the listeners of secure.properties; who comes by plaintext may do everything.

    passwords: of each user, for PLAIN and SCRAM. keys: the JSON Web Key Set of the tokens it accepts. ports: of each of
    LISTENERS, and `plaintext`.
    """

    def __init__(self, folder: Path, certificates: Certificates, passwords: dict[str, str], keys: Path) -> None:
        super().__init__(folder)
        self.certificates = certificates
        self.passwords = passwords
        self.keys = keys.as_uri()
        self.port, self.controller_port, *others = free_ports(2 + len(LISTENERS))
        self.bootstrap_servers = f"127.0.0.1:{self.port}"
        self.ports = {"plaintext": self.port, **dict(zip(LISTENERS, others, strict=True))}
        self.java_options = [f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={self.keys}"]
        self.format_arguments = [
            argument
            for name, password in passwords.items()
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
            for argument in ("--add-scram", f'{mechanism}=[name="{name}",password="{password}"]')
        ]

    def settings(self) -> str:
        """Those of every broker, and the listeners."""
        return super().settings() + filled_in(
            "secure.properties",
            **self.ports,
            controller=self.controller_port,
            ca=self.certificates.ca,
            server_certificate=self.certificates.server,
            expired_certificate=self.certificates.expired,
            elsewhere_certificate=self.certificates.elsewhere,
            plain_users=" ".join(f'user_{name}="{password}"' for name, password in self.passwords.items()),
            keys=self.keys,
        )

    def admin(self) -> AdminClient:
        """A client that may do everything; to be held until what it was asked is done."""
        return AdminClient({"bootstrap.servers": self.bootstrap_servers})

    def create_topics(self, names: Iterable[str]) -> None:
        """Make topics of one partition."""
        admin = self.admin()
        for made in admin.create_topics([NewTopic(name, 1) for name in names]).values():
            made.result(ADMIN_SECONDS)

    def allow(self, user: str, topic: str, *operations: AclOperation) -> None:
        """Let a user do that with a topic, or with each (*)."""
        bindings = [
            AclBinding(
                *(ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, f"User:{user}", "*"),
                *(operation, AclPermissionType.ALLOW),
            )
            for operation in operations
        ]
        admin = self.admin()
        for made in admin.create_acls(bindings).values():
            made.result(ADMIN_SECONDS)

    def set_password(self, user: str, password: str) -> None:
        """Change the password of a user for SCRAM-SHA-512."""
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        change = UserScramCredentialUpsertion(user, info, password.encode())
        admin = self.admin()
        admin.alter_user_scram_credentials([change])[user].result(ADMIN_SECONDS)
