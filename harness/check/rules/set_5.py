"""SET-5: TLS, with keys or with certificates, secures all channels.

There are two sources of evidence.  A relay on the way records how each connection began, with a
TLS handshake or in plain text.  The trace of each QEMU shows the type of each channel: with TLS
two of them, first the socket and then the TLS session over it (``migration_set_incoming_channel``,
``migration_set_outgoing_channel``, ``multifd_set_outgoing_channel``).  Other rules
judge whether the state arrived.

A source that has sent everything also ends each TLS session with a close_notify
(``multifd_send_shutdown()`` in migration/multifd.c), so that the destination can distinguish the
end from a cut.  A migration that completed must have done so without a warning.

Mismatched credentials must be refused: the source fails and keeps its VM, and nothing is
loaded.  The destination may fail too, or wait for another source, as QEMU does
(migration/tls.c): otherwise anyone who can connect could end it.
"""

import re

from harness.check.assumptions import Assumption
from harness.check.evidence import Evidence
from harness.check.refusal import lost
from harness.check.rule import Rule
from harness.check.verdict import Finding
from harness.history.records import Record, Side
from harness.history.wire import ChannelOpened
from harness.model.expectation import Ending, Expectation, has_multifd
from harness.scenario import Scenario

RULE = Rule(
    id="SET-5",
    title="TLS secures every channel, and mismatched credentials are refused",
    trusts=(Assumption.ENDINGS_KNOWN,),
)
INCOMING_CHANNEL = "migration_set_incoming_channel"
OUTGOING_CHANNELS = ("migration_set_outgoing_channel", "multifd_set_outgoing_channel")
CHANNEL_TYPE = "qio-channel-tls"
"""TYPE_QIO_CHANNEL_TLS in include/io/channel-tls.h."""
_TOLD_BY = {Side.SOURCE: OUTGOING_CHANNELS, Side.DESTINATION: (INCOMING_CHANNEL,)}
_BYE_FAILED = "qio_channel_tls_bye_fail"
_NOT_TERMINATED = re.compile(r"Failed to (?:gracefully )?terminate TLS connection.*")
"""The warning of QEMU 10.0, and that of 10.2 and newer."""
_ABOUT_TLS = ("tls", "certificate")
"""In the error of the side that refuses, of crypto/tls*.c and io/channel-tls.c.  The other one
may report no more than that its connection was reset."""


@RULE.skips
def skip_reason(scenario: Scenario, expectation: Expectation) -> str:
    if not scenario.has_tls:
        return "no TLS"
    if expectation.ending in (Ending.COMPLETED, Ending.HANDSHAKE_REFUSED):
        return ""
    return f"the migration does not get that far, or need not complete: {expectation.ending}"


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    if evidence.scenario.tls_mismatch is not None:
        return _refused(evidence)
    if not evidence.endings.is_completed:
        return RULE.unknown("the migration did not complete")
    return _on_all_channels(evidence)


def _on_all_channels(evidence: Evidence) -> Finding:
    must = 1 + (evidence.scenario.channels if has_multifd(evidence.scenario) else 0)
    opened = evidence.of(ChannelOpened)
    plain = [record for record in opened if record.args.kind != "tls"]
    if plain:
        return RULE.violated(
            f"{len(plain)} of {len(opened)} connections began without TLS",
            *plain[:4],
            shape="connection-without-tls",
        )
    seen = {"the wire": len(opened)} if opened else {}
    for side, names in _TOLD_BY.items():
        traced = [record for name in names for record in evidence.trace(side, name)]
        if not traced:
            continue
        secured = [record for record in traced if record.args["ioctype"] == CHANNEL_TYPE]
        seen[f"the {side}'s trace"] = len(secured)
        if len(secured) < must:
            return RULE.violated(
                f"the {side} completed with {len(secured)} of {must} channels over TLS",
                *[record for record in traced if record not in secured][:4],
                evidence.endings.last_status(side),
                shape="channel-without-tls",
            )
    for record, text in (
        *evidence.endings.warnings(Side.SOURCE),
        *evidence.endings.texts(Side.SOURCE),
    ):
        if warning := _NOT_TERMINATED.search(text):
            return RULE.violated(
                "the migration completed, but the source could not terminate TLS on its channels: "
                + warning[0],
                *evidence.trace(Side.SOURCE, _BYE_FAILED)[:3],
                record,
                shape="tls-not-terminated",
            )
    whole = {witness: count for witness, count in seen.items() if count >= must}
    numbers = {
        "channels": must,
        "seen": seen,
        "not_terminated": len(evidence.trace(Side.SOURCE, _BYE_FAILED)),
    }
    if not whole:
        return RULE.unknown("neither the relay nor a trace shows all channels", **numbers)
    return RULE.valid("every channel was TLS", **numbers)


def _refused(evidence: Evidence) -> Finding:
    what, endings = f"tls_mismatch={evidence.scenario.tls_mismatch}", evidence.endings
    for side in (Side.DESTINATION, Side.SOURCE):
        if endings.status(side) == "completed":
            return RULE.violated(
                f"{what}: it must be refused, but the {side} completed",
                endings.last_status(side),
                shape="accepted",
            )
    waited = endings.deadline or next(iter(endings.hung), None)
    if waited is not None and not endings.commands(Side.SOURCE, "migrate"):
        return RULE.unknown(f"{what}: no migration was begun; {waited.args.waiting_for}")
    if waited is not None:
        return RULE.violated(f"{what}: it must be refused within seconds, but nothing ended",
                              waited, shape="neither-side-ended")  # fmt: skip
    gone: Record | None = endings.crash(Side.SOURCE) or lost(evidence)
    if gone is not None:
        return RULE.violated(
            f"{what}: it was refused, but the source is lost", gone, shape="source-lost"
        )
    texts = [text for _, text in endings.texts(None) if text]
    if endings.status(Side.SOURCE) != "failed" or not texts:
        return RULE.unknown(f"{what}: there is no record that the source failed, and why")
    said = [text for text in texts if any(word in text.lower() for word in _ABOUT_TLS)]
    if not said:
        return RULE.unknown(f'{what}: it failed, with an error about something else: "{texts[-1]}"')
    return RULE.valid(f"{what}: it was refused, and the source kept its VM", said=said[-1])
