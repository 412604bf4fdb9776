"""SET-11: What cannot be combined is refused early, with its reason; what can be, works.

Refused are, as read in migration/options.c, migration/migration.c and hw/vfio/: postcopy-ram,
background-snapshot, the modes of CPR, and capabilities that exclude each other, multifd
compression or mapped-ram (``harness/model/settings.py`` lists them).  **Early** is: by
``migrate-set-capabilities``, ``migrate-set-parameters``, ``migrate-incoming`` or ``migrate``, or as
the source connects; not once it is ``active``, or a device's state was begun.  The source's VM runs
on.  Values out of their range are not meant, and SET-1 and SET-2 judge the transfer's own refusal.

Of what can be combined, each buffer arrives as ORD-1 demands; here the migration must complete.
From QEMU 11.0 on, a vIOMMU is part of it if no device keeps a log of dirty pages itself; SET-8
judges the vIOMMU that is refused.  zero-copy-send must also be used: the supervisor's filter
counts QEMU's calls of ``sendmsg`` with ``MSG_ZEROCOPY``.  Whether auto-converge has slowed the
guest is not asked: it need not.

This could be wrong in two ways.  VIOLATED against a right QEMU: a later version may support what
the model says is refused; then ``harness/model/settings.py`` must learn the version.  VALID for
what was not seen: a refusal that is about something else.  Only the expected words count, and
others are UNKNOWN.  So is a run that is not refused by the deadline, or whose source crashes: RUN
judges both.
"""

from harness.check import interruption, set_up
from harness.check.assumptions import Assumption
from harness.check.evidence import PEERS, Evidence
from harness.check.rule import Rule
from harness.check.transfer_path import was_anything_sent
from harness.check.verdict import Finding
from harness.history.process import ZeroCopySends
from harness.history.records import Record, Side
from harness.history.session import Continued
from harness.model import arguments, settings
from harness.model.expectation import UNSUPPORTED, Ending, Expectation
from harness.scenario import Scenario

RULE = Rule(
    id="SET-11",
    title="What cannot be combined is refused early, with its reason; what can be, works",
    trusts=(Assumption.ENDINGS_KNOWN,),
)
_ZERO_COPY = settings.ZERO_COPY
_COMBINED = ("auto-converge", _ZERO_COPY)
"""Capabilities that go with a transfer over multifd."""
_UNDER_WAY = ("active", "device", "pre-switchover", "postcopy-active", "completed")
_REFUSED_BY_MIGRATE = "migrate"


@RULE.skips
def skip_reason(scenario: Scenario, expectation: Expectation) -> str:
    if expectation.ending is Ending.COMPLETED:
        return "" if _combined(scenario) else "nothing is set that must go with the transfer"
    if expectation.ending is not Ending.REFUSED_AT_SETUP:
        return f"its settings can be combined: {expectation.ending}"
    about = [words for words in expectation.reasons if not settings.is_about_a_value(words)]
    if not about or about == [UNSUPPORTED]:
        return f"it is refused for no combination: {expectation.reason}"
    return ""


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    if evidence.expectation.ending is Ending.COMPLETED:
        return _works(evidence)
    reason = evidence.expectation.reason
    begun = _begun(evidence)
    if begun is not None:
        return RULE.violated(
            f"it must be refused early ({reason}), but the migration was begun",
            begun,
            evidence.endings.last_status(Side.SOURCE),
            shape="migration-begun",
        )
    crash = evidence.endings.crash(Side.SOURCE)
    if crash is not None:
        return RULE.unknown("the source QEMU ended instead of refusing it: see RUN")
    refusal = set_up.refusal(evidence)
    if refusal is not None and not refusal.args.get("desc"):
        return RULE.violated("it was refused without a reason", refusal, shape="no-reason")
    said = set_up.reason(evidence)
    if said is None:
        if refusal is not None:
            return RULE.unknown(f"another refusal was seen: {set_up.words(refusal)}")
        return RULE.unknown(f"no refusal with its reason was seen ({reason})")
    answers = evidence.endings.commands(Side.SOURCE, "query-status", "return")
    later = [answer for answer in answers if answer.t_ns > said[0].t_ns]
    stopped = [answer for answer in later if not answer.args["value"].get("running", True)]
    if stopped and not interruption.is_paused(evidence):
        return RULE.violated(
            "it was refused, but the source's VM stopped",
            said[0],
            stopped[-1],
            shape="source-stopped",
        )
    if evidence.endings.commands(Side.SOURCE, _REFUSED_BY_MIGRATE) and not later:
        return RULE.unknown("it was refused; whether the source runs on was not checked")
    return RULE.valid("it was refused early, with its reason", said=said[1], by=said[0].side)


def _works(evidence: Evidence) -> Finding:
    names = ", ".join(_combined(evidence.scenario))
    refusal = set_up.refusal(evidence)
    if refusal is not None:
        words = set_up.words(refusal)
        if not any(settings.is_said(name, words) for name in _combined(evidence.scenario)):
            return RULE.unknown(f"with {names}, {words}")
        return RULE.violated(f"{names} must be accepted, but {words}", refusal, shape="refused")
    if not evidence.endings.is_completed:
        return RULE.unknown(f"with {names}, the migration did not complete")
    wrong = interruption.damaged(evidence)
    if wrong is not None:
        if not wrong[1]:
            return RULE.unknown(wrong[0])
        return RULE.violated(wrong[0], *wrong[1], shape="bytes-differ")
    if settings.has(evidence.scenario, _ZERO_COPY):
        return _zero_copy(evidence)
    return RULE.valid(f"it completed, with {names}")


def _zero_copy(evidence: Evidence) -> Finding:
    """Whether RAM was sent with MSG_ZEROCOPY (multifd_send_thread() in migration/multifd.c)."""
    sends = evidence.of(ZeroCopySends, Side.SOURCE)
    if not sends or evidence.of(Continued):
        return RULE.unknown(f"it completed, but whether {_ZERO_COPY} was used was not observed")
    if count := sends[-1].args.count:
        return RULE.valid(f"it completed, with {_ZERO_COPY}", zero_copy_sends=count)
    answers = [
        answer
        for answer in evidence.endings.commands(Side.SOURCE, "query-migrate", "return")
        if answer.args["value"].get("status") == "completed"
    ]
    pages = answers[-1].args["value"].get("ram", {}).get("normal", 0) if answers else 0
    if not pages:
        return RULE.unknown("it completed, but no page was sent that needed a copy")
    return RULE.violated(
        f"{_ZERO_COPY} is on, and {pages} pages were sent, but none with MSG_ZEROCOPY",
        sends[-1],
        answers[-1],
        shape="zero-copy-not-used",
    )


def _combined(scenario: Scenario) -> list[str]:
    viommu = [arguments.VIOMMU] if arguments.has_viommu(scenario) else []
    return [name for name in _COMBINED if settings.has(scenario, name)] + viommu


def _begun(evidence: Evidence) -> Record | None:
    """What only a migration under way does."""
    for side in PEERS:
        for status, record in evidence.endings.statuses[side]:
            if status == "completed" or (side is Side.SOURCE and status in _UNDER_WAY):
                return record
    sent = (was_anything_sent(evidence, device.id) for device in evidence.scenario.devices)
    return next((record for record in sent if record is not None), None)
