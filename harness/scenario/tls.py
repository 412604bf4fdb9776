"""What secures a migration, and what is wrong with it on purpose."""

import enum
from collections.abc import Iterator

from harness.scenario import fault_plan
from harness.scenario.fault_plan import FaultPlan


class Tls(enum.StrEnum):
    """What secures the migration's channels (QEMU objects ``tls-creds-psk``, ``-x509``)."""

    NONE = "none"
    PSK = "psk"
    X509 = "x509"


class TlsMismatch(enum.StrEnum):
    """What is wrong between the credentials of the two sides: TLS must refuse it."""

    KEY = "key"
    """psk: each side has a key of its own."""
    CA = "ca"
    """x509: the source knows another authority, which has not signed the destination's
    certificate."""
    CLIENT = "client"
    """x509: the destination does not know the authority that has signed the source's
    certificate."""
    HOSTNAME = "hostname"
    """x509: the source expects a name that is not in the destination's certificate."""
    AUTHZ = "authz"
    """x509: the destination's ``tls-authz`` allows another identity only."""
    SOURCE_PLAIN = "source_plain"
    """The source uses no TLS, the destination does."""
    DESTINATION_PLAIN = "destination_plain"
    """The destination uses no TLS, the source does."""


_PLAIN = (TlsMismatch.SOURCE_PLAIN, TlsMismatch.DESTINATION_PLAIN)
MISMATCHES = {
    Tls.NONE: (),
    Tls.PSK: (TlsMismatch.KEY, *_PLAIN),
    Tls.X509: (
        TlsMismatch.CA, TlsMismatch.CLIENT, TlsMismatch.HOSTNAME, TlsMismatch.AUTHZ, *_PLAIN,
    ),
}  # fmt: skip
"""What can be wrong with each."""
TLS_TRACE = (
    "migration_set_*_channel",
    "migration_tls_*",
    "multifd_set_outgoing_channel",
    "qio_channel_tls_*",
)
"""Patterns of the trace events about TLS (io/trace-events, migration/trace-events)."""


def needs(
    tls: Tls, mismatch: TlsMismatch | None, *, has_sockets: bool, faults: FaultPlan
) -> Iterator[tuple[bool, str]]:
    """Whether a scenario has what its ``tls`` needs, and what is wrong if it has not."""
    yield (
        mismatch is None or mismatch in MISMATCHES[tls],
        f"tls_mismatch={mismatch} is not of tls={tls}, which knows "
        f"{', '.join(MISMATCHES[tls]) or 'none'}",
    )
    if tls is Tls.NONE:
        return
    yield has_sockets, "TLS needs a socket; transport is file"
    for fault in faults:
        yield (
            isinstance(fault, fault_plan.RefuseConnection)
            or (
                isinstance(fault, fault_plan.HoldConnections)
                and not fault.until.told.startswith("switchover")
            ),
            f"{fault.describe()}: a relay cannot look into TLS; there only connections can be "
            "held (hold_connections), and not until the switchover, or refused "
            "(refuse_connection)",
        )
