"""Certificates of the moment, as PEM files."""

from datetime import datetime, timedelta, timezone
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption

from tests.kafka.certificates import pkcs8

NOW = datetime.now(timezone.utc)
DAY = timedelta(days=1)
PAST = {"not_before": NOW - 30 * DAY, "not_after": NOW - DAY}
FUTURE = {"not_before": NOW + DAY, "not_after": NOW + 30 * DAY}
PASSWORD = "k3y~P4ssword"


class Certificates:
    """Files in a folder: NAME.pem is a certificate, NAME.key its key, NAME.both both.

    ca, other_ca: two authorities. By ca: server, renewed, expired, early of 127.0.0.1; client, late: a client's, one
    of them expired. stranger: a client's by other_ca. locked.key: the server's key, encrypted with PASSWORD.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca, self.other_ca = trustme.CA(), trustme.CA()
        self.ca.cert_pem.write_to_path(self.path("ca.pem"))
        self.other_ca.cert_pem.write_to_path(self.path("other_ca.pem"))
        server = self.issue("server")
        self.issue("renewed")
        self.issue("expired", **PAST)
        self.issue("early", **FUTURE)
        self.issue("client")
        self.issue("late", **PAST)
        self.issue("stranger", self.other_ca)
        self.path("locked.key").write_bytes(pkcs8(server, BestAvailableEncryption(PASSWORD.encode())))

    def path(self, name: str) -> Path:
        return self.folder / name

    def issue(self, name: str, authority: trustme.CA | None = None, **validity: datetime) -> trustme.LeafCert:
        leaf = (authority or self.ca).issue_cert("127.0.0.1", **validity)
        leaf.private_key_pem.write_to_path(self.path(f"{name}.key"))
        leaf.private_key_and_cert_chain_pem.write_to_path(self.path(f"{name}.both"))
        for blob in leaf.cert_chain_pems:
            blob.write_to_path(self.path(f"{name}.pem"), append=True)
        return leaf
