"""TLS **credentials** of one migration: made for it and removed after it.

There are two folders, one for each side, with the files that QEMU's ``tls-creds-psk`` and
``tls-creds-x509`` read (docs/system/tls.rst, crypto/tlscredspsk.c, crypto/tlscredsx509.c).
All are private (``harness.history.private``).  QEMU reads the server's PSK file again for each
connection, so they are kept until the migration is over.
"""

import secrets
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import VMError
from harness.history import Side, private
from harness.scenario import Scenario, Tls, TlsMismatch, Transport

HOSTNAME = "localhost"
"""In the destination's certificate, besides 127.0.0.1 and ::1."""
WRONG_HOSTNAME = "elsewhere.invalid"
USERNAME = "qemu"
"""The user that ``tls-creds-psk`` looks for in the key file by default."""
_COMPUTES_PARAMETERS = (10, 2)
"""Versions below compute Diffie-Hellman parameters unless there is a file with them, which takes
up to seconds; newer ones have some, and deprecate the file."""
_PARAMETERS = b"""\
-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==
-----END DH PARAMETERS-----
"""
"""ffdhe2048 of RFC 7919, as ``openssl genpkey -genparam`` writes it."""
_ENDPOINTS = {Side.SOURCE: "client", Side.DESTINATION: "server"}


@dataclass(frozen=True, slots=True)
class Setup:
    """What is set in one side's QEMU.

    :ivar objects: arguments of ``object-add``, in order
    :ivar parameters: migration parameters
    """

    objects: tuple[dict[str, Any], ...] = ()
    parameters: dict[str, str] = field(default_factory=dict)


NO_TLS = Setup(parameters={})


class Credentials:
    """The credentials of ``scenario``, in ``folder``; none if it has no TLS.

    ``folder`` must be absolute if QEMU's working directory is another than ours.

    The ids of the objects contain the name of the folder that ``folder`` is in, so that a QEMU in
    a second migration gets new ones.
    """

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        self._scenario = scenario
        self._folder = folder

    def write(self) -> None:
        """Make the files.

        :raise VMError: they cannot be written
        """
        if not self._scenario.has_tls:
            return
        try:
            private.make_folder(self._folder)
            for side, files in self._files().items():
                private.make_folder(self._folder / side)
                for name, data in files.items():
                    self._write(side, name, data)
        except OSError as error:
            raise self._refused(error) from error

    def complete(self, version: tuple[int, int, int]) -> None:
        """Add what a destination of ``version`` would compute.

        :raise VMError: it cannot be written
        """
        if not self._scenario.has_tls or version >= _COMPUTES_PARAMETERS:
            return
        try:
            self._write(Side.DESTINATION, "dh-params.pem", _PARAMETERS)
        except OSError as error:
            raise self._refused(error) from error

    def remove(self) -> None:
        """Remove the files, if they exist."""
        if self._folder.exists():
            shutil.rmtree(self._folder)

    def of(self, side: Side) -> Setup:
        """What to set in the QEMU of ``side``, which has no credentials yet."""
        scenario, mismatch = self._scenario, self._scenario.tls_mismatch
        is_source = side is Side.SOURCE
        plain = TlsMismatch.SOURCE_PLAIN if is_source else TlsMismatch.DESTINATION_PLAIN
        if not scenario.has_tls or mismatch is plain:
            return NO_TLS
        name = f"tls-{side}-{self._folder.parent.name}"
        objects: list[dict[str, Any]] = [
            {
                "qom-type": f"tls-creds-{scenario.tls}",
                "id": name,
                "endpoint": _ENDPOINTS[side],
                "dir": str(self._folder / side),
            }
        ]
        parameters = {"tls-creds": name}
        if scenario.tls is Tls.X509 and is_source:
            parameters |= _hostname(scenario)
        elif scenario.tls is Tls.X509:
            allowed = "somebody" if mismatch is TlsMismatch.AUTHZ else Side.SOURCE
            authz = {"qom-type": "authz-simple", "id": f"{name}-authz", "identity": f"CN={allowed}"}
            objects.append(authz)
            parameters["tls-authz"] = authz["id"]
        return Setup(tuple(objects), parameters)

    def instead(self) -> Setup:
        """What to set in a source that has credentials of an earlier migration."""
        setup = self.of(Side.SOURCE)
        return Setup(setup.objects, {"tls-creds": "", "tls-hostname": "", **setup.parameters})

    def _write(self, side: Side, name: str, data: bytes) -> None:
        with open(self._folder / side / name, "xb", opener=private.opener) as file:
            file.write(data)

    def _refused(self, error: OSError) -> VMError:
        return VMError(f"{self._folder}: cannot write TLS credentials: {error.strerror}")

    def _files(self) -> dict[Side, dict[str, bytes]]:
        """Files of each side: name -> contents."""
        mismatch = self._scenario.tls_mismatch
        if self._scenario.tls is Tls.PSK:
            ours = _psk()
            theirs = _psk() if mismatch is TlsMismatch.KEY else ours
            return {Side.SOURCE: {"keys.psk": ours}, Side.DESTINATION: {"keys.psk": theirs}}
        # Imported only here: most runs have no TLS, and the import is slow.
        from harness.vm.certificates import Authority  # noqa: PLC0415

        authority, other = Authority(), Authority()
        knows = other if mismatch is TlsMismatch.CA else authority
        signs = other if mismatch in (TlsMismatch.CA, TlsMismatch.CLIENT) else authority
        # QEMU requires its own certificate to be of an authority that it knows.
        known = dict.fromkeys((knows.certificate, signs.certificate))
        return {
            Side.SOURCE: {
                "ca-cert.pem": b"".join(known),
                **_files(signs.issue(Side.SOURCE), Side.SOURCE),
            },
            Side.DESTINATION: {
                "ca-cert.pem": authority.certificate,
                **_files(authority.issue(Side.DESTINATION, HOSTNAME), Side.DESTINATION),
            },
        }


def _hostname(scenario: Scenario) -> dict[str, str]:
    """The host name to verify, unless it is that of the address: a unix socket has none, and a
    relay may be at another address.
    """
    if scenario.tls_mismatch is TlsMismatch.HOSTNAME:
        return {"tls-hostname": WRONG_HOSTNAME}
    if scenario.transport is Transport.TCP and not scenario.has_relay:
        return {}
    return {"tls-hostname": HOSTNAME}


def _psk() -> bytes:
    return f"{USERNAME}:{secrets.token_hex(32)}\n".encode()


def _files(issued: tuple[bytes, bytes], side: Side) -> dict[str, bytes]:
    """Certificate and key under the file names that QEMU expects."""
    certificate, key = issued
    endpoint = _ENDPOINTS[side]
    return {f"{endpoint}-cert.pem": certificate, f"{endpoint}-key.pem": key}
