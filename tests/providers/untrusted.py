"""A TLS server on loopback whose certificate nobody has reason to trust."""

import ssl
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def certificate() -> bytes:
    """Return a self-signed certificate for another name, expired, and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "other.example.test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now - timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


class Handler(BaseHTTPRequestHandler):
    """Nobody should get this far."""

    asked: list[str]

    def handle_one_request(self) -> None:
        line = self.rfile.readline()
        if line:
            self.asked.append(line.decode(errors="replace"))
        self.close_connection = True


class Untrusted(HTTPServer):
    """Does the handshake in the handler's place, so that a refused one ends nothing."""

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that refuses the certificate is what this is for."""


@contextmanager
def untrusted_server() -> Iterator[tuple[str, list[str]]]:
    """Serve; yields the address and the requests that came through the handshake."""
    asked: list[str] = []
    handler = type("Asked", (Handler,), {"asked": asked})
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        pem = Path(folder) / "server.pem"
        pem.write_bytes(certificate())
        context.load_cert_chain(pem)
    with Untrusted(("127.0.0.1", 0), handler) as server:
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()
