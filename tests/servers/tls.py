"""A backend behind TLS, and certificate authorities for tests."""

import datetime
import io
import ipaddress
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


class Authority:
    """A certificate authority, which has its own key."""

    def __init__(self, folder: Path, name: str = "An authority") -> None:
        self._folder = folder
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(self._name, self._key, 30 * DAY)
        builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
        usage = x509.KeyUsage(*[False] * 5, True, *[False] * 3)  # signs certificates
        builder = builder.add_extension(usage, critical=True)
        self.file = folder / "authority.pem"
        self.file.write_bytes(builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM))

    def certify(self, host: x509.GeneralName, days: int = 30) -> Path:
        """Create a certificate for a host. Return the path of a file with the certificate and the
        private key.

        :param days: in how many days the certificate expires. It became valid 30 days ago.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "A backend")])
        builder = self._builder(name, key, days * DAY)
        builder = builder.add_extension(x509.SubjectAlternativeName([host]), critical=False)
        file = self._folder / "backend.pem"
        file.write_bytes(
            builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM)
            + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        return file

    def _builder(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, lasts: datetime.timedelta
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.timezone.utc)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 30 * DAY)
            .not_valid_after(now + lasts)
            # Python 3.13 requires these extensions (RFC 5280 section 4.2.1).
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False
            )
        )


HERE = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
ELSEWHERE = x509.DNSName("elsewhere.example")


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Do not log clients that close the connection."""


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Do not log requests."""

    def get_stderr(self) -> io.StringIO:  # type: ignore[override]
        """Drop messages about clients that close the connection."""
        return io.StringIO()


class Secured:
    """A WSGI application on a free port of this machine, behind TLS."""

    def __init__(self, application: Callable[..., Any], certificate: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self._server = make_server("127.0.0.1", 0, application, _Server, _Quiet)
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self.url = f"https://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> "Secured":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
