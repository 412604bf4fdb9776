"""Credentials of one migration: files, what QEMU is told of them, and that they go."""

import base64
import re
import stat
from pathlib import Path

import pytest
from cryptography import x509

from harness.errors import VMError
from harness.history import Side
from harness.scenario import Scenario, Tls, TlsMismatch, Transport
from harness.vm.credentials import NO_TLS, Credentials

SRC, DST = Side.SOURCE, Side.DESTINATION


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "forth-0001").mkdir()
    return tmp_path / "forth-0001" / "tls"


@pytest.fixture
def credentials(folder):
    """Those of a scenario with such fields, written."""

    def make(tls, mismatch=None, **fields):
        scenario = Scenario(name="x", tls=tls, tls_mismatch=mismatch, **fields)
        made = Credentials(scenario, folder)
        made.write()
        return made

    return make


def names(folder: Path, side: Side) -> set[str]:
    return {path.name for path in (folder / side).iterdir()}


def certificates(path: Path) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(path.read_bytes())


def is_known(folder: Path, issued: Path, by: Side) -> bool:
    """Whether ``by`` knows the authority that has signed the certificate ``issued``."""
    (certificate,) = certificates(folder / issued)
    known = certificates(folder / by / "ca-cert.pem")
    return certificate.issuer in [authority.subject for authority in known]


@pytest.mark.parametrize("tls", [Tls.PSK, Tls.X509])
@pytest.mark.parametrize(("version", "is_needed"), [((10, 1, 2), True), ((10, 2, 0), False)])
def test_destination_that_would_compute_parameters_gets_some(
    credentials, folder, tls, version, is_needed
):
    credentials(tls).complete(version)
    assert ("dh-params.pem" in names(folder, DST)) is is_needed
    if is_needed:
        lines = (folder / DST / "dh-params.pem").read_bytes().splitlines()
        encoded = base64.b64decode(b"".join(lines[1:-1]))
        # PKCS #3: a sequence of the prime and the generator, which is 2.
        prime = int.from_bytes(encoded[8:-3], "big")
        assert (prime.bit_length(), encoded[-3:]) == (2048, b"\2\1\2")
        assert all(pow(3, each - 1, each) == 1 for each in (prime, prime // 2))


def test_without_tls_there_is_nothing_to_complete(credentials, folder):
    credentials(Tls.NONE).complete((10, 0, 0))
    assert not folder.exists()


@pytest.mark.parametrize("tls", [Tls.PSK, Tls.X509])
def test_nobody_else_can_read_them(credentials, folder, tls):
    credentials(tls)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()}
    assert modes == {0o600}
    folders = [folder, *(path for path in folder.iterdir())]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}


def test_x509_has_the_files_that_qemu_looks_for(credentials, folder):
    credentials(Tls.X509)
    assert names(folder, SRC) == {"ca-cert.pem", "client-cert.pem", "client-key.pem"}
    assert names(folder, DST) == {"ca-cert.pem", "server-cert.pem", "server-key.pem"}
    assert is_known(folder, Path("source/client-cert.pem"), DST)
    assert is_known(folder, Path("destination/server-cert.pem"), SRC)


def test_psk_has_one_key_for_both(credentials, folder):
    credentials(Tls.PSK)
    assert names(folder, SRC) == names(folder, DST) == {"keys.psk"}
    key = (folder / "source/keys.psk").read_text()
    assert re.fullmatch(r"qemu:[0-9a-f]{64}\n", key)
    assert (folder / "destination/keys.psk").read_text() == key


def test_key_mismatch_gives_each_its_own(credentials, folder):
    credentials(Tls.PSK, TlsMismatch.KEY)
    assert (folder / "source/keys.psk").read_text() != (folder / "destination/keys.psk").read_text()


@pytest.mark.parametrize(
    ("mismatch", "server_known", "client_known"),
    [
        (TlsMismatch.CA, False, False),
        (TlsMismatch.CLIENT, True, False),
        (TlsMismatch.HOSTNAME, True, True),
        (TlsMismatch.AUTHZ, True, True),
    ],
)
def test_authorities_that_do_not_fit(credentials, folder, mismatch, server_known, client_known):
    credentials(Tls.X509, mismatch)
    assert is_known(folder, Path("destination/server-cert.pem"), SRC) is server_known
    assert is_known(folder, Path("source/client-cert.pem"), DST) is client_known
    # QEMU refuses to load a certificate whose authority it does not know itself.
    assert is_known(folder, Path("source/client-cert.pem"), SRC)


def test_qemu_is_told_where_they_are(credentials, folder):
    made = credentials(Tls.X509)
    source, destination = made.of(SRC), made.of(DST)
    assert source.objects == (
        {
            "qom-type": "tls-creds-x509",
            "id": "tls-source-forth-0001",
            "endpoint": "client",
            "dir": str(folder / "source"),
        },
    )
    assert source.parameters == {
        "tls-creds": "tls-source-forth-0001",
        "tls-hostname": "localhost",
    }
    creds, authz = destination.objects
    assert creds["endpoint"] == "server"
    assert authz == {"qom-type": "authz-simple", "id": f"{creds['id']}-authz",
                     "identity": "CN=source"}  # fmt: skip
    assert destination.parameters == {"tls-creds": creds["id"], "tls-authz": authz["id"]}


def test_psk_needs_neither_name_nor_authz(credentials):
    made = credentials(Tls.PSK)
    for side in (SRC, DST):
        assert [each["qom-type"] for each in made.of(side).objects] == ["tls-creds-psk"]
        assert set(made.of(side).parameters) == {"tls-creds"}


@pytest.mark.parametrize(
    ("fields", "hostname"),
    [
        ({"transport": Transport.TCP}, None),
        ({"transport": Transport.TCP, "relay": True}, "localhost"),
        ({"mismatch": TlsMismatch.HOSTNAME}, "elsewhere.invalid"),
    ],
)
def test_who_must_be_at_the_other_end(credentials, fields, hostname):
    assert credentials(Tls.X509, **fields).of(SRC).parameters.get("tls-hostname") == hostname


def test_authz_mismatch_allows_somebody_else(credentials):
    _, authz = credentials(Tls.X509, TlsMismatch.AUTHZ).of(DST).objects
    assert authz["identity"] != "CN=source"


@pytest.mark.parametrize("tls", [Tls.PSK, Tls.X509])
@pytest.mark.parametrize(
    ("mismatch", "plain", "other"),
    [(TlsMismatch.SOURCE_PLAIN, SRC, DST), (TlsMismatch.DESTINATION_PLAIN, DST, SRC)],
)
def test_one_side_has_none(credentials, tls, mismatch, plain, other):
    made = credentials(tls, mismatch)
    assert made.of(plain) == NO_TLS
    assert made.of(other).objects


def test_source_forgets_those_of_the_migration_before(credentials):
    made = credentials(Tls.PSK)
    assert made.instead().objects == made.of(SRC).objects
    assert made.instead().parameters == {**made.of(SRC).parameters, "tls-hostname": ""}


def test_source_goes_back_to_plain_text(credentials):
    assert credentials(Tls.NONE).instead().parameters == {"tls-creds": "", "tls-hostname": ""}


def test_without_tls_there_is_nothing(credentials, folder):
    made = credentials(Tls.NONE)
    assert made.of(SRC) == made.of(DST) == NO_TLS
    assert not folder.exists()
    made.remove()


def test_they_are_removed(credentials, folder):
    made = credentials(Tls.X509)
    made.remove()
    assert not folder.exists()
    made.remove()


def test_folder_that_cannot_be_made_is_one_line(folder):
    made = Credentials(Scenario(name="x", tls=Tls.PSK), folder / "missing" / "tls")
    with pytest.raises(VMError, match="cannot write TLS credentials: No such file") as told:
        made.write()
    assert "\n" not in str(told.value)
