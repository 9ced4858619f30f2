"""An identity provider: it signs tokens and publishes its keys over HTTP, as far as tests need one."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

ISSUER = "https://issuer.example"
AUDIENCE = "nightshift"


class Issuer:
    """One provider with one RSA key at first."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {}
        self.asked = 0
        self.broken = False
        self.add("first")
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked += 1
                self.send_response(500 if issuer.broken else 200)
                self.end_headers()
                self.wfile.write(json.dumps({"keys": issuer.published()}).encode())

            def log_message(self, *_: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/jwks.json"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def add(self, kid: str, *, curve: bool = False) -> None:
        """A new key is published."""
        self.keys[kid] = (
            ec.generate_private_key(ec.SECP256R1()) if curve else rsa.generate_private_key(65_537, key_size=2048)
        )

    def published(self) -> list[dict[str, Any]]:
        """The public halves."""
        algorithms = {kid: (ECAlgorithm if hasattr(key, "curve") else RSAAlgorithm) for kid, key in self.keys.items()}
        return [
            json.loads(algorithms[kid].to_jwk(key.public_key())) | {"kid": kid, "use": "sig"}
            for kid, key in self.keys.items()
        ]

    def token(self, kid: str = "first", **claims: Any) -> str:
        """A good token, but for the claims given; None takes one out."""
        now = int(time.time())
        whole = {"iss": ISSUER, "aud": AUDIENCE, "sub": "a-service", "scope": "predict", "iat": now, "exp": now + 600}
        body = {name: value for name, value in (whole | claims).items() if value is not None}
        algorithm = "ES256" if hasattr(self.keys[kid], "curve") else "RS256"
        return jwt.encode(body, self.keys[kid], algorithm, headers={"kid": kid})

    def stop(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
