"""What QEMU refused before anything was sent, and at which command.

A refusal is evidence of one requirement only: the one that its error is about
(``Expectation.is_reason``).
"""

from harness.check.evidence import PEERS, Evidence
from harness.history.records import Event, Kind, Record, Side

SETTINGS = ("migrate-set-capabilities", "migrate-set-parameters")
"""Commands that set the migration up."""
CREDENTIALS = "object-add"
"""That of TLS credentials; they are made by the harness and read by gnutls."""
_BEGUN = ("migrate-incoming", "migrate")


def refused(evidence: Evidence, side: Side, *commands: str) -> Event | None:
    """The first refusal of one of ``commands`` before the migration; None if all were accepted.

    After it they are a scenario's actions.
    """
    begun = [
        record.t_ns
        for peer in PEERS
        for command in _BEGUN
        for record in evidence.endings.commands(peer, command)
    ]
    return next(
        (
            record
            for record in evidence.events(Kind.QMP, side)
            if record.name == "error"
            and record.args.get("command") in commands
            and (not begun or record.t_ns <= min(begun))
        ),
        None,
    )


def refusal(evidence: Evidence) -> Event | None:
    """The first refusal of the set-up, of ``migrate-incoming`` or of ``migrate``."""
    found = [
        record
        for side in PEERS
        for record in (
            refused(evidence, side, *SETTINGS, CREDENTIALS),
            *(error for command in _BEGUN for error in evidence.endings.refusals(side, command)),
        )
        if record is not None
    ]
    return min(found, key=lambda record: record.t_ns, default=None)


def words(refused: Event) -> str:
    """In words: which side refused which command, and QEMU's error."""
    desc = refused.args.get("desc", "")
    return f'the {refused.side} refused {refused.args["command"]}: "{desc}"'


def reason(evidence: Evidence) -> tuple[Record, str] | None:
    """The first error, of the side that must refuse, that has an expected reason."""
    said = evidence.endings.texts(evidence.expectation.refused_by)
    return next(((r, text) for r, text in said if evidence.expectation.is_reason(text)), None)
