"""Judges a history: assumptions first, then every rule that applies to scenario and run."""

import msgspec

from harness.check.assumptions import Assumption, check
from harness.check.evidence import Evidence, Seen
from harness.check.interruption import as_it_may_end
from harness.check.prediction_input import predicted
from harness.check.rule import Rule, not_judged
from harness.check.rules import (
    arc_1,
    arc_2,
    arc_4,
    dma_1,
    dma_2,
    dma_3,
    lif_1,
    lif_3,
    lif_4,
    lif_5,
    lif_6,
    lif_7,
    lif_8,
    lif_9,
    lif_10,
    lif_11,
    lif_12,
    lif_13,
    lif_14,
    lif_15,
    ord_1,
    ord_2,
    ord_3,
    ord_4,
    ord_5,
    ord_6,
    ord_7,
    ord_8,
    ord_9,
    pre_1,
    pre_2,
    pre_3,
    pre_4,
    pre_5,
    ref_6,
    ref_11,
    ref_12,
    refusals,
    run_itself,
    set_4,
    set_5,
    set_6,
    set_7,
    set_8,
    set_9,
    set_10,
    set_11,
    sta_1,
    sta_2,
    sta_3,
    sta_4,
    transfer_settings,
)
from harness.check.verdict import Finding, Outcome, Verdict
from harness.history import device
from harness.history.rundir import History
from harness.model.expectation import expect
from harness.scenario import Abilities

RULES: tuple[Rule, ...] = (
    run_itself.RULE,
    ord_1.RULE,
    ord_2.RULE,
    ord_3.RULE,
    ord_4.RULE,
    ord_5.RULE,
    ord_6.RULE,
    ord_7.RULE,
    ord_8.RULE,
    ord_9.RULE,
    refusals.REF_1,
    refusals.REF_2,
    refusals.REF_3,
    refusals.REF_4,
    refusals.REF_5,
    ref_6.RULE,
    refusals.REF_7,
    refusals.REF_8,
    refusals.REF_9,
    refusals.REF_10,
    ref_11.RULE,
    ref_12.RULE,
    lif_1.RULE,
    refusals.LIF_2,
    lif_3.RULE,
    lif_4.RULE,
    lif_5.RULE,
    lif_6.RULE,
    lif_7.RULE,
    lif_8.RULE,
    lif_9.RULE,
    lif_10.RULE,
    lif_11.RULE,
    lif_12.RULE,
    lif_13.RULE,
    lif_14.RULE,
    lif_15.RULE,
    transfer_settings.SET_1,
    transfer_settings.SET_2,
    transfer_settings.SET_3,
    set_4.RULE,
    set_5.RULE,
    set_6.RULE,
    set_7.RULE,
    set_8.RULE,
    set_9.RULE,
    set_10.RULE,
    set_11.RULE,
    sta_1.RULE,
    sta_2.RULE,
    sta_3.RULE,
    sta_4.RULE,
    pre_1.RULE,
    pre_2.RULE,
    pre_3.RULE,
    pre_4.RULE,
    pre_5.RULE,
    arc_1.RULE,
    arc_2.RULE,
    arc_4.RULE,
    dma_1.RULE,
    dma_2.RULE,
    dma_3.RULE,
)
"""All rules, in the order in which findings are reported."""

TITLES = {rule.id: rule.title for rule in RULES}


def judge(history: History) -> Verdict:
    """What ``history`` says about each requirement.

    The records must be as their names promise (``history.contract``).  An exception of a rule
    is a bug of that rule and goes up as it is.
    """
    evidence = gather(history)
    broken = check(evidence)
    findings: list[Finding] = []
    not_applicable: dict[str, str] = {}
    for rule in RULES:
        why_not = (
            ("" if rule.stands_alone else not_judged(evidence.expectation))
            or rule.skip_reason(history.scenario, evidence.expectation)
            or rule.skip_reason_of(evidence)
        )
        if why_not:
            not_applicable[rule.id] = why_not
        else:
            findings.append(_find(rule, evidence, broken))
    return Verdict.of(findings, not_applicable)


def gather(history: History) -> Evidence:
    """What the rules judge: the records, and what must follow from the scenario, from what faults
    have delivered, and from what has stopped the migration.
    """
    seen, manifest = Seen(history), history.manifest
    asked = expect(history.scenario, manifest.source, manifest.destination, _abilities(seen))
    expectation, prediction, delivered = predicted(seen, asked)
    return Evidence(seen, as_it_may_end(seen, expectation), prediction, delivered)


def _abilities(seen: Seen) -> dict[str, Abilities]:
    """What the kernel reported of its devices."""
    return {
        record.device: msgspec.convert(record.args, Abilities, from_attributes=True)
        for record in seen.of(device.Abilities)
    }


def _find(rule: Rule, evidence: Evidence, broken: dict[Assumption, str]) -> Finding:
    reason = next((broken[needed] for needed in rule.needs if needed in broken), "")
    if reason:
        return _unknown(rule, reason)
    finding = rule.judge(evidence)
    if finding.outcome is Outcome.VALID:
        # What was seen agrees; but there may be more that was done and not seen.
        reason = next((broken[trusted] for trusted in rule.trusts if trusted in broken), "")
        if reason:
            return _unknown(rule, f"what was seen agrees, but {reason}", finding)
    return finding


def _unknown(rule: Rule, sentence: str, seen: Finding | None = None) -> Finding:
    return Finding(
        requirement=rule.id,
        outcome=Outcome.UNKNOWN,
        sentence=sentence,
        numbers=seen.numbers if seen else {},
    )
