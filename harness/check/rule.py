"""What a rule is: one requirement, when it is asked, and how it is judged."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.check.assumptions import Assumption
from harness.check.run import CheckedRun
from harness.check.verdict import Finding, Outcome
from harness.history.records import Record
from harness.model.expectation import Ending, Expectation, TransferPath
from harness.scenario import Scenario


def always(_run: CheckedRun) -> str:
    """Asked by every run of its scenario."""
    return ""


@dataclass(frozen=True, slots=True)
class Rule:
    """One requirement.

    ``judge`` must be sound: VIOLATED only where records contradict the requirement, and
    VALID only where something was seen that could have contradicted it.  Where the run
    did not come to its end, what is missing contradicts nothing.
    """

    id: str
    title: str
    asks: Callable[[Scenario, Expectation], str]
    """Why this scenario does not ask about it; "": it does."""
    judge: Callable[[CheckedRun], Finding]
    needs: tuple[Assumption, ...]
    """Without these there is nothing to judge: UNKNOWN."""
    trusts: tuple[Assumption, ...] = (Assumption.ENDED_WELL, Assumption.ENDINGS_KNOWN)
    """Without these what was seen may be less than what was done: never VALID."""
    asked_by: Callable[[CheckedRun], str] = always
    """Why this run, as it went, does not ask about it; "": it does."""
    stands_alone: bool = False
    """Whether it is asked where the model does not know a setting: what it calls VIOLATED then
    is wrong whatever the settings are."""


class Findings:
    """Makes the findings of one rule."""

    def __init__(self, requirement: str) -> None:
        self._requirement = requirement

    def valid(self, sentence: str, **numbers: Any) -> Finding:
        """Something was seen, and it agrees."""
        return Finding(
            requirement=self._requirement,
            outcome=Outcome.VALID,
            sentence=sentence,
            numbers=numbers,
        )

    def violated(
        self, sentence: str, *evidence: Record | None, shape: str = "", **numbers: Any
    ) -> Finding:
        """Records contradict the requirement.

        :param shape: what QEMU did, a stable word (``Finding.shape``)
        """
        return Finding(
            requirement=self._requirement,
            outcome=Outcome.VIOLATED,
            sentence=sentence,
            shape=shape,
            evidence=tuple(record for record in evidence if record is not None),
            numbers=numbers,
        )

    def unknown(self, sentence: str, **numbers: Any) -> Finding:
        """It could not be judged; the sentence says why."""
        return Finding(
            requirement=self._requirement,
            outcome=Outcome.UNKNOWN,
            sentence=sentence,
            numbers=numbers,
        )


# -- when a rule is asked ----------------------------------------------------------------


def not_judged(expectation: Expectation) -> str:
    """Why nothing is demanded of the migration; "": something is."""
    if expectation.ending is not Ending.NOT_JUDGED:
        return ""
    return f"the model does not know {expectation.reason}"


def completed(_scenario: Scenario, expectation: Expectation) -> str:
    """Asked when the migration must complete."""
    if expectation.ending in (Ending.COMPLETED, Ending.NOT_JUDGED):
        return not_judged(expectation)
    return f"the migration must not complete: {expectation.ending}"


def over_multifd(scenario: Scenario, expectation: Expectation) -> str:
    """Asked when the migration must complete and a device's state goes over multifd."""
    return completed(scenario, expectation) or (
        ""
        if any(device.path is TransferPath.MULTIFD for device in expectation.devices)
        else "no device's state goes over multifd"
    )


def with_faults(scenario: Scenario, _expectation: Expectation) -> str:
    """Asked when faults stand on the way; what they delivered then tells what is asked."""
    return "" if scenario.faults else "no faults are on the way"
