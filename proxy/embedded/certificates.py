"""Certificates that only the owner of the data directory has: for the server, and for its clients.

    <data_dir>/tls/       700
    ├── ca.pem            600   what both sides check each other by
    ├── server.pem        600   the server's certificate
    ├── server-key.pem    600   and its key
    └── client.pem        600   a client's key and certificate in one file, as MongoDB's tools want

They are made anew at every start. The authority's key never leaves the memory of the function
that signs with it, so nobody can make another client's certificate later.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import quote

from proxy.embedded.child import write_private
from proxy.embedded.state import EmbeddedError

VALID_DAYS = 3650
"""Of one start; clocks may differ by a day."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """Where the files lie."""

    folder: Path

    @property
    def authority(self) -> Path:
        """The certificate that signed the others."""
        return self.folder / "ca.pem"

    @property
    def client(self) -> Path:
        """A client's key and certificate."""
        return self.folder / "client.pem"

    @property
    def server_flags(self) -> list[str]:
        """The flags that let the server speak TLS with holders of a certificate only."""
        return [
            *("--tls-cert-file", str(self.folder / "server.pem")),
            *("--tls-key-file", str(self.folder / "server-key.pem")),
            *("--tls-ca-file", str(self.authority)),
            "--tls-require-client-cert",
        ]

    @property
    def uri_options(self) -> str:
        """The options of a connection string: `tls=true&tlsCAFile=…&tlsCertificateKeyFile=…`."""
        return (
            f"tls=true&tlsCAFile={quote(str(self.authority), safe='/')}"
            f"&tlsCertificateKeyFile={quote(str(self.client), safe='/')}"
        )

    def make(self, host: str) -> None:
        """Write new ones for a server at an IP address, mode 600.

        Raises:
            EmbeddedError: the package that makes them is not installed.
        """
        # Only the embedded database needs it, and importing it takes a tenth of a second.
        try:
            from cryptography import x509  # noqa: PLC0415
            from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
            from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
            from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID  # noqa: PLC0415
        except ImportError:
            raise EmbeddedError(
                "The embedded database needs the package `cryptography`: "
                "install the group `embedded`, or set PROXY_MONGODB_URI to a MongoDB server"
            ) from None

        now = datetime.now(UTC)

        def named(name: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

        def signed(name: str, key: Any, *extensions: x509.ExtensionType) -> bytes:
            builder = (
                x509.CertificateBuilder()
                .subject_name(named(name))
                .issuer_name(named("proxy authority"))
                .public_key(key.public_key())
                .serial_number(x509.random_serial_number())
                .not_valid_before(now - timedelta(days=1))
                .not_valid_after(now + timedelta(days=VALID_DAYS))
                .add_extension(
                    x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
                )
                .add_extension(
                    x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()),
                    critical=False,
                )
            )
            for extension in extensions:
                builder = builder.add_extension(
                    extension, critical=not isinstance(extension, x509.SubjectAlternativeName)
                )
            certificate = builder.sign(authority, hashes.SHA256())
            return certificate.public_bytes(serialization.Encoding.PEM)

        def private(key: Any) -> bytes:
            text: bytes = key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            return text

        authority, server, client = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
        files = {
            self.authority.name: signed(
                "proxy authority",
                authority,
                x509.BasicConstraints(ca=True, path_length=0),
                x509.KeyUsage(
                    digital_signature=False,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    key_cert_sign=True,
                    crl_sign=True,
                    encipher_only=False,
                    decipher_only=False,
                ),
            ),
            "server.pem": signed(
                "proxy database",
                server,
                x509.SubjectAlternativeName([x509.IPAddress(ip_address(host))]),
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
            ),
            "server-key.pem": private(server),
            self.client.name: private(client)
            + signed(
                "proxy client", client, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
            ),
        }
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self.folder.chmod(0o700)
        for name, text in files.items():
            write_private(self.folder / name, text.decode("ascii"))
