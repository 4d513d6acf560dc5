"""Certificates made on the spot, and a TLS server that shows one.

`AUTHORITY` is the one that the service under test is told to trust, by PROVIDER_CA_FILE.
"""

import ssl
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HERE = x509.IPAddress(ip_address("127.0.0.1"))
ELSEWHERE = x509.DNSName("other.example.test")
PEM = serialization.Encoding.PEM


class Authority:
    """Somebody who signs certificates."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "An authority")])
        builder = self._builder(self._name, self._key, days_left=1)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        self.pem = builder.sign(self._key, hashes.SHA256()).public_bytes(PEM)
        """Its own certificate."""

    def issue(self, name: x509.GeneralName = HERE, *, days_left: int = 1) -> bytes:
        """Return a server's certificate and key; with negative `days_left` it is expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(x509.Name([]), key, days_left)
        builder = builder.add_extension(x509.SubjectAlternativeName([name]), True)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(PEM) + key.private_bytes(
            PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def _builder(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, days_left: int
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=9))
            .not_valid_after(now + timedelta(days=days_left))
        )


AUTHORITY = Authority()


class Handler(BaseHTTPRequestHandler):
    """Answers every request with `{"ok": true}`, and keeps its first line."""

    asked: list[str]

    def handle_one_request(self) -> None:
        if line := self.rfile.readline():
            self.asked.append(line.decode(errors="replace"))
            while self.rfile.readline() not in (b"\r\n", b""):
                pass
            self.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{"ok": true}')
        self.close_connection = True


class TLSServer(HTTPServer):
    """Does the handshake in the handler's place, so that a refused one ends nothing."""

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that refuses the certificate is what this is for."""


@contextmanager
def tls_server(certificate: bytes) -> Iterator[tuple[str, list[str]]]:
    """Serve; yields the address and the requests that came through the handshake."""
    asked: list[str] = []
    handler = type("Asked", (Handler,), {"asked": asked})
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        pem = Path(folder) / "server.pem"
        pem.write_bytes(certificate)
        context.load_cert_chain(pem)
    with TLSServer(("127.0.0.1", 0), handler) as server:
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()
