"""PRE-2: QEMU takes each answer to VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2 for what it means.

The feature makes ``vfio_precopy_info.flags`` valid (linux/vfio.h of Linux 7.1).  QEMU 11.1 and
later ask for it when a device with pre-copy starts (vfio_migration_init() in hw/vfio/migration.c).
Where the device has it, QEMU uses it.  ENOTTY is the answer of an older kernel: QEMU goes on
without it.  Another errno is an error: the device cannot migrate, with the reason (as SET-8).

It applies if a device was asked.  Older QEMUs do not ask.

How it could be wrong.  VIOLATED of a right QEMU: QEMU may fail for another reason; so a run that
does not get to the migration violates it only if QEMU's error is about the feature, or if a
migration was begun that must be refused.  VALID for nothing seen: each answer needs QEMU's own word
that it uses the feature or not, or its error.
"""

import errno
import os

from harness.check import set_up
from harness.check.assumptions import Assumption
from harness.check.evidence import OVER, PEERS, Evidence
from harness.check.rule import Rule
from harness.check.verdict import Finding
from harness.history.device import PrecopyInfoV2
from harness.history.records import Record, Side
from harness.model import info_v2, settings
from harness.model.expectation import Ending, Expectation
from harness.scenario import Scenario

RULE = Rule(
    id="PRE-2",
    title="QEMU takes each answer to MIG_PRECOPY_INFOv2 for what it means",
    needs=(Assumption.COMPLETE,),
    trusts=(Assumption.ENDINGS_KNOWN,),
)
_INIT = "vfio_migration_init"
_GOES_ON = (0, errno.ENOTTY)
_REFUSED = (Ending.LAUNCH_REFUSED, Ending.BLOCKED)
_UNDER_WAY = ("active", "device", "pre-switchover", "completed")


@RULE.skips
def skip_reason(scenario: Scenario, _expectation: Expectation) -> str:
    return "" if any(spec.pre_copy for spec in scenario.emulated) else "no device has pre-copy"


@RULE.skips_run
def skip_reason_of(evidence: Evidence) -> str:
    return "" if evidence.of(PrecopyInfoV2) else "no QEMU asked for MIG_PRECOPY_INFOv2"


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    answers = evidence.of(PrecopyInfoV2)
    failed = next((each for each in answers if each.args.errno not in _GOES_ON), None)
    if failed is not None:
        return _refused(evidence, failed)
    unseen: list[str] = []
    for answer in answers:
        used = evidence.trace(answer.side, _INIT, answer.device)
        what = f"{answer.device} at the {answer.side}"
        if not used or "precopy_info_v2_used" not in used[0].args:
            unseen.append(what)
        elif bool(used[0].args["precopy_info_v2_used"]) == bool(answer.args.errno):
            how = "does not use" if not answer.args.errno else "uses"
            return RULE.violated(
                f"{what} answered {_word(answer)}, but QEMU {how} MIG_PRECOPY_INFOv2",
                answer,
                used[0],
                shape="not-used" if not answer.args.errno else "used-without",
            )
    for side in PEERS:
        for record, text in evidence.endings.texts(side):
            if settings.is_said(info_v2.FAILED, text):
                return RULE.violated(
                    f'the {side} took an answer for an error that is none: "{text}"',
                    *answers,
                    record,
                    shape="taken-for-an-error",
                )
    if unseen:
        return RULE.unknown(f"what QEMU made of the answer was not seen: {', '.join(unseen)}")
    with_it = sum(not answer.args.errno for answer in answers)
    return RULE.valid(
        "QEMU uses MIG_PRECOPY_INFOv2 where the device has it",
        used=with_it,
        not_used=len(answers) - with_it,
    )


def _refused(evidence: Evidence, failed: Record[PrecopyInfoV2]) -> Finding:
    """How QEMU takes an errno that is an error."""
    what = f"{failed.device} answered {_word(failed)} at the {failed.side}"
    if evidence.expectation.ending not in _REFUSED:
        return RULE.unknown(f"{what}; what must follow is not known")
    for side in PEERS:
        for status, record in evidence.endings.statuses[side]:
            if side is Side.SOURCE and status in _UNDER_WAY:
                sentence = f"{what}, but the migration was begun"
                return RULE.violated(sentence, failed, record, shape="migration-begun")
    said = set_up.reason(evidence)
    if said is None:
        source = evidence.endings.status(Side.SOURCE)
        known = f"; the source's status is {source}" if source in OVER else ""
        return RULE.unknown(f"{what}; no error about it was seen{known}")
    return RULE.valid(f"{what}: QEMU refuses to migrate it, with the reason", said=said[1])


def _word(answer: Record[PrecopyInfoV2]) -> str:
    return os.strerror(answer.args.errno) if answer.args.errno else "yes"
