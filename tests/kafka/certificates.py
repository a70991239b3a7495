"""Certificates for tests, made by a CA of the moment: PEM files that Kafka and librdkafka read."""

from datetime import datetime, timedelta, timezone
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

LOOPBACK = ("127.0.0.1", "localhost")
PAST = datetime.now(timezone.utc) - timedelta(days=2)


class Certificates:
    """Files in a folder; each is named for what it shows.

    ca, other_ca: certificates of two authorities. server, expired, elsewhere: a server's key and certificates by the
    first: right, over since two days, of another host. client, stranger: a client's certificate by the first and by the
    other authority; client_key, stranger_key: their keys, encrypted with `password`.
    """

    def __init__(self, folder: Path, password: str) -> None:
        ca, other = trustme.CA(organization_name="right"), trustme.CA(organization_name="other")
        self.folder = folder
        self.password = password
        self.ca = self.written("ca.pem", ca.cert_pem.bytes())
        self.other_ca = self.written("other-ca.pem", other.cert_pem.bytes())
        self.server = self.server_file("server.pem", ca.issue_cert(*LOOPBACK))
        self.expired = self.server_file(
            "expired.pem", ca.issue_cert(*LOOPBACK, not_before=PAST - timedelta(days=30), not_after=PAST)
        )
        self.elsewhere = self.server_file("elsewhere.pem", ca.issue_cert("elsewhere.example"))
        self.client, self.client_key = self.client_files("client", ca)
        self.stranger, self.stranger_key = self.client_files("stranger", other)

    def written(self, name: str, text: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(text)
        return path

    def server_file(self, name: str, issued: trustme.LeafCert) -> Path:
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        return self.written(name, pkcs8(issued, NoEncryption()) + chain)

    def client_files(self, name: str, ca: trustme.CA) -> tuple[Path, Path]:
        issued = ca.issue_cert(f"{name}.example", common_name=name)
        key = pkcs8(issued, BestAvailableEncryption(self.password.encode()))
        return self.written(f"{name}.pem", issued.cert_chain_pems[0].bytes()), self.written(f"{name}.key", key)


def pkcs8(issued: trustme.LeafCert, encryption: KeySerializationEncryption) -> bytes:
    """The private key in the one form that Kafka reads."""
    key = load_pem_private_key(issued.private_key_pem.bytes(), None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
