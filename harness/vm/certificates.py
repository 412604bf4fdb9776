"""A certificate **authority** and the certificates that it issues, as QEMU requires them.

QEMU checks basic constraints, key usage and key purpose (``qcrypto_tls_creds_check_cert()`` in
crypto/tlscredsx509.c); the client also checks the server's subject alternative name.
"""

import datetime
import ipaddress
import secrets

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFE = datetime.timedelta(days=1)
"""How long a certificate is valid before and after it is made: clocks may differ."""
LOOPBACK = ("127.0.0.1", "::1")


class Authority:
    """An authority with a key of its own.

    :ivar certificate: its certificate, PEM
    """

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = f"authority {secrets.token_hex(4)}"
        self.certificate = self._signed(
            self._name, self._key, x509.BasicConstraints(ca=True, path_length=0), "key_cert_sign"
        )

    def issue(self, common_name: str, hostname: str = "") -> tuple[bytes, bytes]:
        """Issue a certificate; returns it and its private key, both PEM.

        :param hostname: of a server, which also has the loopback addresses; empty for a client
        """
        key = ec.generate_private_key(ec.SECP256R1())
        more: list[x509.ExtensionType] = [x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])]
        if hostname:
            addresses = [x509.IPAddress(ipaddress.ip_address(each)) for each in LOOPBACK]
            more = [
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
                x509.SubjectAlternativeName([x509.DNSName(hostname), *addresses]),
            ]
        constraints = x509.BasicConstraints(ca=False, path_length=None)
        certificate = self._signed(common_name, key, constraints, "digital_signature", *more)
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return certificate, private

    def _signed(
        self,
        common_name: str,
        key: ec.EllipticCurvePrivateKey,
        constraints: x509.BasicConstraints,
        usage: str,
        *more: x509.ExtensionType,
    ) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(common_name))
            .issuer_name(_name(self._name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - LIFE)
            .not_valid_after(now + LIFE)
            .add_extension(constraints, critical=True)
            .add_extension(_usage(usage), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        for extension in more:
            builder = builder.add_extension(extension, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return certificate.public_bytes(serialization.Encoding.PEM)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(allowed: str) -> x509.KeyUsage:
    uses = dict.fromkeys(
        (
            "digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
            "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
        ),
        False,
    )  # fmt: skip
    return x509.KeyUsage(**{**uses, allowed: True})
