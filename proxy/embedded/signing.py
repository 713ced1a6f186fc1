"""The certificates of one start, made by a process that ends when it has written them.

It is run as a program, `python signing.py HOST`: what makes certificates takes 9 MiB, which a
server would keep for as long as it lives, and the authority's key ends with the process.
"""

import json
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID_DAYS = 3650
"""Of one start; clocks may differ by a day."""


def new_certificates(host: str) -> dict[str, str]:
    """Return what an authority, a server at an IP address and its clients need, as PEM texts.

    The names are those of the files: `ca.pem`, `server.pem`, `server-key.pem`, `client.pem`.
    """
    authority, server, client = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    now = datetime.now(UTC)

    def named(name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    def signed(name: str, key: Any, *extensions: x509.ExtensionType) -> str:
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
        return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")

    def private(key: Any) -> str:
        text: bytes = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return text.decode("ascii")

    return {
        "ca.pem": signed(
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
        "client.pem": private(client)
        + signed("proxy client", client, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])),
    }


if __name__ == "__main__":
    json.dump(new_certificates(sys.argv[1]), sys.stdout)
