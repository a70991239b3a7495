"""An OAuth 2 token server on loopback: client credentials in, a signed JWT out."""

import base64
import json
import ssl
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

ALGORITHM = "RS256"
KEY_ID = "tests"
AUDIENCE = "kafka"


class TokenServer:
    """HTTPS at `url`; a context manager. clients: the secret of each client ID, which may change.

    What a client asks for as scope is done: `expired` gives a token that is over, `forged` one by a key that nobody
    knows, `gossip` an error that repeats the secret. handed_out: every token.
    """

    def __init__(self, certificate: Path, clients: dict[str, str]) -> None:
        self.clients = clients
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.unknown_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.handed_out: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                status, answer = server.answer(self.headers, self.rfile.read(int(self.headers["Content-Length"])))
                body = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.http.server_port}/token"

    def __enter__(self) -> "TokenServer":
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.05,), name="token server")
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()

    def keys(self) -> str:
        """The JSON Web Key Set that tells its tokens from others."""
        key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        return json.dumps({"keys": [{**key, "kid": KEY_ID, "alg": ALGORITHM, "use": "sig"}]})

    def answer(self, headers: Any, body: bytes) -> tuple[int, dict[str, Any]]:
        client, _, secret = base64.b64decode(headers["Authorization"].removeprefix("Basic ")).decode().partition(":")
        if client not in self.clients or self.clients[client] != secret:
            return 401, {"error": "invalid_client", "error_description": "unknown client or wrong secret"}
        if b"gossip" in body:
            return 400, {"error": "invalid_scope", "error_description": f"no gossip for {secret}"}
        token = self.token(client, b"expired" in body, b"forged" in body)
        return 200, {"access_token": token, "token_type": "Bearer", "expires_in": 3600}

    def token(self, client: str, expired: bool, forged: bool) -> str:
        now = int(time.time())
        issued, expires = (now - 7200, now - 3600) if expired else (now, now + 3600)
        claims = {"sub": client, "aud": AUDIENCE, "iat": issued, "exp": expires, "jti": uuid.uuid4().hex}
        key = self.unknown_key if forged else self.key
        token = jwt.encode(claims, key, ALGORITHM, headers={"kid": KEY_ID})
        self.handed_out.append(token)
        return token
