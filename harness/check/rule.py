"""What a rule is: one requirement, when it applies, and how it is judged."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.check.assumptions import Assumption
from harness.check.evidence import Evidence
from harness.check.verdict import Finding, Outcome
from harness.history.records import Record
from harness.model.expectation import Ending, Expectation, TransferPath
from harness.scenario import Scenario

SkipReason = Callable[[Scenario, Expectation], str]
SkipReasonOf = Callable[[Evidence], str]
Judge = Callable[[Evidence], Finding]


def never_skipped(_scenario: Scenario, _expectation: Expectation) -> str:
    """It applies to every scenario."""
    return ""


def always_applies(_evidence: Evidence) -> str:
    """It applies to every run of a scenario to which it applies."""
    return ""


def _not_written(_evidence: Evidence) -> Finding:
    raise NotImplementedError("a rule needs a function with @RULE.judges")


@dataclass(slots=True, eq=False)
class Rule:
    """One requirement, and what makes its findings.

    ``judge`` must be sound: VIOLATED only where records contradict the requirement, and
    VALID only where something was seen that could have contradicted it.  Where the run
    did not come to its end, what is missing contradicts nothing.

    The functions of a rule's file are given to it with ``@RULE.judges``, ``@RULE.skips`` and
    ``@RULE.skips_run``.
    """

    id: str
    title: str
    needs: tuple[Assumption, ...] = (Assumption.COMPLETE, Assumption.LAUNCHED)
    """Without these there is nothing to judge: UNKNOWN."""
    trusts: tuple[Assumption, ...] = (Assumption.ENDED_WELL, Assumption.ENDINGS_KNOWN)
    """Without these, QEMU may have done more than was seen: never VALID."""
    skip_reason: SkipReason = never_skipped
    """Why it does not apply to a scenario; "" if it does."""
    skip_reason_of: SkipReasonOf = always_applies
    """Why it does not apply to a run, given its records; "" if it does."""
    judge: Judge = _not_written
    stands_alone: bool = False
    """Whether it applies where the model does not know a setting: what it calls VIOLATED then
    is wrong whatever the settings are."""
    about: str = ""
    """Text of its page, if its file is about several rules; if empty, the file's docstring."""

    # -- its functions ---------------------------------------------------------------

    def judges(self, function: Judge) -> Judge:
        """A decorator: ``function`` is ``judge``."""
        self.judge = function
        return function

    def skips(self, function: SkipReason) -> SkipReason:
        """A decorator: ``function`` is ``skip_reason``."""
        self.skip_reason = function
        return function

    def skips_run(self, function: SkipReasonOf) -> SkipReasonOf:
        """A decorator: ``function`` is ``skip_reason_of``."""
        self.skip_reason_of = function
        return function

    # -- its findings ----------------------------------------------------------------

    def valid(self, sentence: str, **numbers: Any) -> Finding:
        """Something was seen, and it agrees."""
        return Finding(
            requirement=self.id, outcome=Outcome.VALID, sentence=sentence, numbers=numbers
        )

    def violated(
        self, sentence: str, *evidence: Record | None, shape: str = "", **numbers: Any
    ) -> Finding:
        """Records contradict the requirement.

        :param shape: what QEMU did, a stable word (``Finding.shape``)
        """
        return Finding(
            requirement=self.id,
            outcome=Outcome.VIOLATED,
            sentence=sentence,
            shape=shape,
            evidence=tuple(record for record in evidence if record is not None),
            numbers=numbers,
        )

    def unknown(self, sentence: str, **numbers: Any) -> Finding:
        """It could not be judged; the sentence says why."""
        return Finding(
            requirement=self.id, outcome=Outcome.UNKNOWN, sentence=sentence, numbers=numbers
        )


# -- to which scenarios a rule applies ---------------------------------------------------


def not_judged(expectation: Expectation) -> str:
    """Why nothing is demanded of the migration; "" if something is."""
    if expectation.ending is not Ending.NOT_JUDGED:
        return ""
    return f"the model does not know {expectation.reason}"


def completed(_scenario: Scenario, expectation: Expectation) -> str:
    """To those whose migration must complete."""
    if expectation.ending in (Ending.COMPLETED, Ending.NOT_JUDGED):
        return not_judged(expectation)
    return f"the migration must not complete: {expectation.ending}"


def over_multifd(scenario: Scenario, expectation: Expectation) -> str:
    """To those whose migration must complete, with a device whose state goes over multifd."""
    return completed(scenario, expectation) or (
        ""
        if any(device.path is TransferPath.MULTIFD for device in expectation.devices)
        else "no device's state goes over multifd"
    )


def with_faults(scenario: Scenario, _expectation: Expectation) -> str:
    """To those with faults on the way; what these delivered then decides about the run."""
    return "" if scenario.faults else "the scenario has no faults"
