"""A certificate authority for tests, and the certificates that it signs."""

from __future__ import annotations

import datetime
import ipaddress
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID


class Authority:
    """Its own certificate lies in `path`, for clients to trust."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Locum's tests")])
        self.path = folder / "authority.pem"
        certificate = self._build(self.name, self.key, 1, authority=True)
        self.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _build(self, name: x509.Name, key, days: float, authority: bool = False, names: tuple[str, ...] = ()):
        now = datetime.datetime.now(datetime.timezone.utc)
        end = now + datetime.timedelta(days=days)
        builder = (
            x509.CertificateBuilder().subject_name(name).issuer_name(self.name).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(min(now, end) - datetime.timedelta(days=1)).not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(True, False, False, False, False, authority, authority, False, False), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if names:
            hosts = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1")), *map(x509.DNSName, names)]
            builder = builder.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, label: str, days: float = 1, kind: str = "ec") -> tuple[bytes, bytes]:
        """Certificate and key in PEM, for localhost and for `label`, which stands in it."""
        key = ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else rsa.generate_private_key(65537, 2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, label)])
        certificate = self._build(name, key, days, names=(label,))
        return (
            certificate.public_bytes(serialization.Encoding.PEM),
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        )


def put(path: Path, data: bytes, mode: int = 0o600):
    """In place of what is there, at once, as whoever renews certificates does."""
    new = path.with_suffix(".new")
    new.write_bytes(data)
    new.chmod(mode)
    os.replace(new, path)
