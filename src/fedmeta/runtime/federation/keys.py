"""Keys and the certificate of a federation on this machine, made on the spot.

A federation between machines needs the same, of its own authority: see
docs/how-to/federation.md.
"""

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID

from fedmeta.data.files import write_private
from fedmeta.runtime.federation.lasting import HOST

DAYS = 30
PEM = Encoding.PEM


def write_certificate(folder: Path) -> None:
    """Write server.crt, which signs itself and clients trust, and server.key."""
    key = _key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    names = [x509.IPAddress(ipaddress.ip_address(HOST)), x509.DNSName("localhost")]
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA384())
    )
    (folder / "server.crt").write_bytes(certificate.public_bytes(PEM))
    private = key.private_bytes(PEM, PrivateFormat.PKCS8, NoEncryption())
    write_private(folder / "server.key", private)


def write_node_key(path: Path) -> None:
    """Write a node's private key, and the public one with the suffix .pub beside it."""
    key = _key()
    private = key.private_bytes(PEM, PrivateFormat.OpenSSH, NoEncryption())
    write_private(path, private)
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    path.with_name(f"{path.name}.pub").write_bytes(public)


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())
