"""The **verdict**: what a history says about each requirement."""

import enum
from collections.abc import Iterable
from typing import Any

import msgspec

from harness.history.contract import typed
from harness.history.records import Record


class Outcome(enum.StrEnum):
    """Three of them: what could not be judged is neither valid nor violated."""

    VALID = "valid"
    VIOLATED = "violated"
    UNKNOWN = "unknown"


_EXIT_STATUS = {Outcome.VALID: 0, Outcome.VIOLATED: 1, Outcome.UNKNOWN: 2}


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the history says about one requirement."""

    requirement: str
    """Id, as in the list of requirements; ``RUN``: the run itself."""
    outcome: Outcome
    sentence: str
    """In plain words: what was seen, and what should have been."""
    shape: str = ""
    """What QEMU did (VIOLATED): a stable word such as ``accepted`` or ``load-thread-waits``,
    in lower case and hyphens.  Sentences may be improved; this one names the case."""
    evidence: tuple[Record, ...] = ()
    """The records that contradict each other (VIOLATED)."""
    numbers: dict[str, Any] = {}
    """What was measured on the way."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """All findings of one history; make it with :meth:`of`."""

    overall: Outcome
    findings: tuple[Finding, ...]
    not_applicable: dict[str, str]
    """Requirements that do not apply to this scenario or run: id -> why not."""

    @classmethod
    def of(cls, findings: Iterable[Finding], not_applicable: dict[str, str]) -> "Verdict":
        """VIOLATED if any is; else VALID if all that apply are, and one at least does."""
        found = tuple(findings)
        outcomes = {finding.outcome for finding in found}
        if Outcome.VIOLATED in outcomes:
            overall = Outcome.VIOLATED
        else:
            overall = Outcome.VALID if outcomes == {Outcome.VALID} else Outcome.UNKNOWN
        return cls(overall=overall, findings=found, not_applicable=not_applicable)

    @property
    def exit_status(self) -> int:
        """0 valid, 1 violated, 2 unknown."""
        return _EXIT_STATUS[self.overall]

    def finding(self, requirement: str) -> Finding | None:
        """The finding about ``requirement``; None if it does not apply."""
        return next((f for f in self.findings if f.requirement == requirement), None)

    def with_outcome(self, outcome: Outcome) -> tuple[str, ...]:
        """Ids of the requirements with ``outcome``."""
        return tuple(f.requirement for f in self.findings if f.outcome is outcome)

    def to_json(self) -> bytes:
        """The contents of verdict.json."""
        return msgspec.json.format(msgspec.json.encode(self)) + b"\n"


def from_json(data: bytes) -> Verdict:
    """The verdict in verdict.json.

    :raise msgspec.DecodeError: it is none
    :raise HistoryError: a record of its evidence is damaged
    """
    verdict = msgspec.json.decode(data, type=Verdict)
    findings = tuple(
        msgspec.structs.replace(finding, evidence=tuple(typed(finding.evidence, "verdict")))
        for finding in verdict.findings
    )
    return msgspec.structs.replace(verdict, findings=findings)
