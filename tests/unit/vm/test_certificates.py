"""An authority of one's own, judged by the library's verification and by what QEMU looks at."""

import datetime
import ipaddress

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID

from harness.vm.certificates import Authority


def load(pem: bytes) -> x509.Certificate:
    (certificate,) = x509.load_pem_x509_certificates(pem)
    return certificate


def verifier(authority: Authority) -> verification.PolicyBuilder:
    store = verification.Store([load(authority.certificate)])
    return verification.PolicyBuilder().store(store)


def test_server_is_who_it_says():
    authority = Authority()
    certificate, _ = authority.issue("destination", "localhost")
    for name in (
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.IPAddress(ipaddress.ip_address("::1")),
    ):
        assert verifier(authority).build_server_verifier(name).verify(load(certificate), [])


def test_server_is_nobody_else():
    authority = Authority()
    certificate, _ = authority.issue("destination", "localhost")
    elsewhere = verifier(authority).build_server_verifier(x509.DNSName("elsewhere.invalid"))
    with pytest.raises(verification.VerificationError):
        elsewhere.verify(load(certificate), [])


def test_other_authority_does_not_vouch():
    authority, other = Authority(), Authority()
    certificate = load(authority.issue("source")[0])
    certificate.verify_directly_issued_by(load(authority.certificate))
    with pytest.raises((InvalidSignature, ValueError)):
        certificate.verify_directly_issued_by(load(other.certificate))


@pytest.mark.parametrize(
    ("hostname", "purpose"),
    [
        ("", ExtendedKeyUsageOID.CLIENT_AUTH),
        ("localhost", ExtendedKeyUsageOID.SERVER_AUTH),
    ],
)
def test_certificate_is_for_one_end_only(hostname, purpose):
    certificate = load(Authority().issue("source", hostname)[0])
    extensions = certificate.extensions
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [purpose]
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert not usage.key_cert_sign
    assert certificate.subject.rfc4514_string() == "CN=source"


def test_authority_may_sign_and_lives_short():
    certificate = load(Authority().certificate)
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    now = datetime.datetime.now(datetime.UTC)
    assert certificate.not_valid_before_utc < now < certificate.not_valid_after_utc
    assert certificate.not_valid_after_utc - now < datetime.timedelta(days=2)


def test_key_fits_the_certificate():
    certificate, key = Authority().issue("source")
    private = serialization.load_pem_private_key(key, None)
    assert private.public_key() == load(certificate).public_key()
