"""Keys and certificates of a federation on this machine, made on the spot.

A federation between machines needs the same, made by its own authority: see
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

HOST = "127.0.0.1"
DAYS = 30
PEM = Encoding.PEM
Key = ec.EllipticCurvePrivateKey


def write_certificates(folder: Path) -> None:
    """Write ca.crt, server.crt and server.key; the authority's key is not kept."""
    authority, server = _key(), _key()
    issuer = _named("FedMeta, this machine only")
    root = _certificate(issuer, authority, issuer, authority).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    names: list[x509.GeneralName] = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address(HOST)),
    ]
    leaf = (
        _certificate(_named(HOST), server, issuer, authority)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
    )
    for name, builder in {"ca": root, "server": leaf}.items():
        signed = builder.sign(authority, hashes.SHA384())
        (folder / f"{name}.crt").write_bytes(signed.public_bytes(PEM))
    key = server.private_bytes(PEM, PrivateFormat.PKCS8, NoEncryption())
    write_private(folder / "server.key", key)


def write_node_key(path: Path) -> None:
    """Write a node's private key, and the public one with the suffix .pub beside it."""
    key = _key()
    private = key.private_bytes(PEM, PrivateFormat.OpenSSH, NoEncryption())
    write_private(path, private)
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    path.with_name(f"{path.name}.pub").write_bytes(public)


def _key() -> Key:
    return ec.generate_private_key(ec.SECP384R1())


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _certificate(
    subject: x509.Name, key: Key, issuer: x509.Name, signer: Key
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=DAYS))
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
            False,
        )
    )
