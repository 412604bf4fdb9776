"""What QEMU refused before anything was sent, and at which command.

A refusal is evidence of one requirement only: the one that its words are about
(``Expectation.is_reason``).
"""

from harness.check.endings import PEERS
from harness.check.run import CheckedRun
from harness.history.records import Kind, Record, Side

SETTINGS = ("migrate-set-capabilities", "migrate-set-parameters")
"""Commands that set the migration up."""
CREDENTIALS = "object-add"
"""That of TLS credentials; they are made by the harness and read by gnutls."""
_BEGUN = ("migrate-incoming", "migrate")


def refused(run: CheckedRun, side: Side, *commands: str) -> Record | None:
    """The first refusal of one of ``commands`` before the migration; None: all were accepted.

    After it they are a scenario's actions.
    """
    begun = [
        record.t_ns
        for peer in PEERS
        for command in _BEGUN
        for record in run.endings.commands(peer, command)
    ]
    return next(
        (
            record
            for record in run.sequence(Kind.QMP, side)
            if record.name == "error"
            and record.args.get("command") in commands
            and (not begun or record.t_ns <= min(begun))
        ),
        None,
    )


def refusal(run: CheckedRun) -> Record | None:
    """The first refusal of the set-up, of ``migrate-incoming`` or of ``migrate``."""
    found = [
        record
        for side in PEERS
        for record in (
            refused(run, side, *SETTINGS, CREDENTIALS),
            *(error for command in _BEGUN for error in run.endings.refusals(side, command)),
        )
        if record is not None
    ]
    return min(found, key=lambda record: record.t_ns, default=None)


def words(refused: Record) -> str:
    """In words: who refused which command, and what QEMU said."""
    desc = refused.args.get("desc", "")
    return f'the {refused.side} refused {refused.args["command"]}: "{desc}"'


def reason(run: CheckedRun) -> tuple[Record, str] | None:
    """The first error, of the side that must refuse, that has an expected reason."""
    said = run.endings.texts(run.expectation.refused_by)
    return next(((r, text) for r, text in said if run.expectation.is_reason(text)), None)
