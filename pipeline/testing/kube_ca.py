"""A certificate authority and a server certificate for loopback, made on the spot."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path
from typing import Any


def certificates(folder: Path, valid: tuple[float, float]) -> str:
    """A CA and a server certificate for 127.0.0.1, written to `folder`; gives the CA as PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    now = datetime.datetime.now(datetime.UTC)

    def make(name: str, issuer: Any, key: Any, signer: Any, span: tuple[float, float], *, ca: bool) -> Any:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")])
        return (
            x509.CertificateBuilder().subject_name(subject).issuer_name(issuer or subject).public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(seconds=span[0])).not_valid_after(now + datetime.timedelta(seconds=span[1]))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(names, critical=False).sign(signer, hashes.SHA256())
        )  # fmt: skip

    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = make("fake-ca", None, ca_key, ca_key, (-86400.0, 86400.0), ca=True)
    server = make("fake-kube", ca.subject, key, ca_key, valid, ca=False)
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(server.public_bytes(pem) + secret)
    text: str = ca.public_bytes(pem).decode()
    (folder / "ca.pem").write_text(text)
    return text
