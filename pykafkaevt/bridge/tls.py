"""The server's side of TLS on the bridge's inputs: certificates, their check, and why a handshake failed."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import stat
import time
from pathlib import Path
from typing import Final

from pykafkaevt.bridge.inputs import Input
from pykafkaevt.errors import ConfigError
from pykafkaevt.references import resolved

HANDSHAKE: Final = 0x16  # the first byte of a TLS connection, RFC 8446 5.1: a record of this type
OWN_PASSWORD: Final = "key_password"

# What OpenSSL's reasons mean for who operates the bridge; others are shown as they are.
REASONS: Final = {
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not accepted",
    "NO_SHARED_CIPHER": "it has no cipher in common with this certificate",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it sent no certificate, and client_ca asks for one",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it does not accept this certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "to it this certificate has expired",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it does not accept this certificate",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not know the CA of this certificate",
    "UNSUPPORTED_PROTOCOL": "it speaks no TLS 1.2 or later",
}


class NotTLSError(ConnectionError):
    """The peer of a TLS input began with something else."""


def server_context(source: Input) -> ssl.SSLContext:
    """What an input with TLS serves by; the files are read now. Raises ConfigError naming the URL, option and file."""
    context = certified_context(source)
    authority: Path | None = source.options.get("client_ca")
    if authority is not None:
        require_readable(source, "client_ca", authority)
        try:
            context.load_verify_locations(authority)
        except ssl.SSLError as error:
            raise ConfigError(source.url, f"client_ca {authority} holds no certificate in PEM") from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def certified_context(source: Input) -> ssl.SSLContext:
    """A server's context with the certificate and the key of an input. Raises ConfigError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A resumed session would not look at the client's certificate again; and a peer that never reads would leave the
    # tickets of TLS 1.3 unread: at its end the kernel then drops what is still on the way.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    cert: Path = source.options["cert"]
    key: Path | None = source.options.get("key")
    place = f"cert {cert}" if key is None else f"key {key}"
    require_readable(source, "cert", cert)
    if key is not None:
        require_readable(source, "key", key)
    asked = False

    def password() -> str:
        # without this OpenSSL would ask at the terminal
        nonlocal asked
        asked = True
        if OWN_PASSWORD not in source.options:
            raise ConfigError(source.url, f"{place} is encrypted, and there is no {OWN_PASSWORD}")
        return resolved(f"{source.url}: {OWN_PASSWORD}", source.options[OWN_PASSWORD])

    try:
        context.load_cert_chain(cert, key, password)
    except ConfigError:
        raise
    except ssl.SSLError as error:
        raise ConfigError(source.url, why_not_loaded(error, cert, place, asked)) from error
    except ValueError as error:
        raise ConfigError(source.url, f"{OWN_PASSWORD}: {error}") from None
    return context


def require_readable(source: Input, name: str, path: Path) -> None:
    """Raise ConfigError for a file that cannot be read; OpenSSL does not say which one it was."""
    try:
        # a FIFO would wait for its writer
        with open(path, "rb", opener=lambda file, flags: os.open(file, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError(source.url, f"{name} {path} is no regular file")
    except OSError as error:
        raise ConfigError(source.url, f"{name} {path}: {error.strerror or error}") from error


def why_not_loaded(error: ssl.SSLError, cert: Path, place: str, asked: bool) -> str:
    """What is wrong with a certificate and its key; asked: for the password, which was then given."""
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"{place} is not that of cert {cert}"
    if asked:
        return f"{OWN_PASSWORD} does not open {place}"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cert)
    except ssl.SSLError:
        return f"cert {cert} holds no certificate in PEM"
    reason = (error.reason or "").replace("_", " ").lower()
    return f"{place} holds no private key in PEM" if reason in ("", "pem lib") else f"cert {cert}: {reason}"


def trouble(source: Input, context: ssl.SSLContext) -> str | None:
    """Why no peer can connect although everything could be read, as a certificate that has expired; None when one can.

    Found by a handshake in memory with a client that trusts this certificate alone.
    """
    cert = source.options["cert"]
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(cert)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (
        client.wrap_bio(to_client, to_server),
        certified_context(source).wrap_bio(to_server, to_client, server_side=True),
    )
    for side in sides * 4:
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLCertVerificationError as error:
            return f"cert {cert}: {error.verify_message}"
        except ssl.SSLError as error:
            return f"cert {cert}: {why(error)}"
    ends = [ssl.cert_time_to_seconds(str(one["notAfter"])) for one in context.get_ca_certs()]
    if ends and max(ends) < time.time():
        return f"client_ca {source.options['client_ca']}: certificate has expired"
    return None


async def require_tls(peer: socket.socket) -> None:
    """Wait for a peer's first byte, and raise NotTLSError unless it begins a handshake; OSError."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(peer, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(peer)
    first = peer.recv(1, socket.MSG_PEEK)
    if not first:
        raise ConnectionResetError("it closed the connection")
    if first[0] != HANDSHAKE:
        raise NotTLSError("it does not speak TLS, and this input does nothing else")


def why(error: Exception) -> str:
    """Why a handshake with a peer failed."""
    if isinstance(error, ssl.SSLError):
        reason = error.reason or ""
        text = REASONS.get(reason, reason.replace("_", " ").lower() or "no TLS")
        detail = getattr(error, "verify_message", "")
        return f"{text}: {detail}" if detail else text
    if isinstance(error, asyncio.TimeoutError):
        return "it took too long"
    return str(error.strerror or error) if isinstance(error, OSError) else type(error).__name__
