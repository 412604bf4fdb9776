"""PRE-4: Sizes that fail, shrink, grow or overflow never crash QEMU or end pre-copy too early.

A device's sizes (MIG_DATA_SIZE and VFIO_MIG_GET_PRECOPY_INFO of vfio.h) are estimates, and a
driver may fail to give them.  QEMU must not stop the guest with a total that is below what the
devices reported: the downtime would exceed its limit.  Where a device fails to report, or reports
more than 2^63 - 1 bytes, any stand-in is right that is not below what it has left (QEMU takes
100 GiB: vfio_state_pending_exact() in hw/vfio/migration.c).  A QEMU that takes the number itself
must not let its sum overflow.  Right is also a failed migration whose error names the device, and
a pre-copy that goes on.  With switchover-ack, initial bytes that are not known (PRECOPY_INFO has
failed) are not to be acknowledged before they are loaded.

The total is the last one that the source traced before its stop, the sizes are those that the
devices had answered by then, less what was read since.  The acknowledgement is asked for where the
destination reads VFIO_MIG_FLAG_DEV_INIT_DATA_SENT.

How it could be wrong.  VIOLATED of a right QEMU: a device answers before QEMU goes on, and QEMU
traces a total after it has counted; so a total is never older than an answer before it, and both
are of one thread.  A guest may stop for another reason; so the source's status must say that it
switched over.  What a device reports and does not have is believed: only its own numbers count.
VALID for nothing seen: a device must have misreported, and the source's total before its stop must
be known, or that it never stopped.
"""

from typing import NamedTuple

from harness.check import convergence, device_failure, interruption
from harness.check.assumptions import Assumption
from harness.check.evidence import MAIN_DATA, PEERS, Evidence
from harness.check.rule import Rule
from harness.check.verdict import Finding
from harness.history.device import Read, SizeAnswer
from harness.history.records import Event, Record, Side
from harness.model.expectation import Ending, Expectation
from harness.scenario import EmulatedDevice, Scenario
from harness.scenario.misreports import Query
from harness.scenario.ranges import INT64_MAX

RULE = Rule(
    id="PRE-4",
    title="Sizes that fail, shrink, grow or overflow never crash QEMU or end pre-copy too early",
    needs=(Assumption.COMPLETE, Assumption.LAUNCHED, Assumption.SOURCE_TRACE),
    trusts=(Assumption.ENDINGS_KNOWN,),
)
_ENDINGS = (Ending.COMPLETED, Ending.DEVICE_ERROR, Ending.NOT_CONVERGED, Ending.STOPPED)
_ACK = "switchover-ack"
_LOAD_STATE = "vfio_load_state"
_INIT_DATA_SENT = 0xFFFFFFFF_EF100005
"""VFIO_MIG_FLAG_DEV_INIT_DATA_SENT of hw/vfio/vfio-migration-internal.h."""
_SIZE_TRACES = ("vfio_state_pending", "vfio_state_pending_exact")
"""Of one device; the first is that of QEMU 11.0 on."""
_SWITCHED = ("device", "completed")
_UINT64_MAX = (1 << 64) - 1


class Total(NamedTuple):
    """What the source counted as pending."""

    record: Event
    total: int


@RULE.skips
def skip_reason(scenario: Scenario, expectation: Expectation) -> str:
    if not any(spec.misreports for spec in scenario.emulated):
        return "no device misreports its sizes"
    if any(
        spec.dma.fails or spec.refuses or spec.data_fds or spec.save.error_at is not None
        or spec.load.error_at is not None
        for spec in scenario.emulated
    ):  # fmt: skip
        return "a device may fail another call first"
    if expectation.ending not in _ENDINGS:
        return f"the migration need not come to the sizes: {expectation.ending}"
    return ""


@RULE.skips_run
def skip_reason_of(evidence: Evidence) -> str:
    """A guest that is paused has no downtime."""
    return "the guest was paused" if interruption.was_stopped_by_plan(evidence) else ""


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    answers = evidence.of(SizeAnswer, Side.SOURCE)
    wrong = [record for record in answers if record.args.planned]
    if not wrong:
        return RULE.unknown("no device was asked for the sizes that it misreports")
    if len(evidence.endings.commands(Side.SOURCE, "migrate")) > 1:
        return RULE.unknown("to which of several migrations an answer belongs is not known")
    what = _words(wrong[0])
    for peer in PEERS:
        end = evidence.endings.crash(peer)
        if end is not None and (end.args.signal or peer is Side.SOURCE):
            sentence = f"{what}, and the {peer}'s QEMU ended"
            return RULE.violated(sentence, wrong[0], end, shape=f"{peer}-died")
    early = _acknowledged_early(evidence) or _stopped_early(evidence)
    if early is not None:
        return early
    numbers = {"misreports": len(wrong)}
    ending, counted = evidence.expectation.ending, _decision(evidence)
    if ending is Ending.DEVICE_ERROR:
        return _failed(evidence, what, wrong)
    if ending is Ending.NOT_CONVERGED or (ending is Ending.STOPPED and not _switched(evidence)):
        return RULE.valid(f"{what}, and pre-copy went on", **numbers)
    if ending is Ending.COMPLETED and not evidence.endings.is_completed:
        return RULE.unknown(f"{what}, and the migration did not complete")
    if counted is None:
        return RULE.unknown(f"{what}; the source's total at its stop was not seen")
    sentence = f"{what}, and the source stopped its guest with all that was reported counted"
    return RULE.valid(sentence, total=counted.total, **numbers)


def _words(answer: Record[SizeAnswer]) -> str:
    args = answer.args
    if args.errno:
        return f"{answer.device} failed call {args.number} of {args.query}"
    sizes = " and ".join(map(str, args.sizes))
    return f"{answer.device} answered {sizes} to call {args.number} of {args.query}"


def _failed(evidence: Evidence, what: str, wrong: list[Record[SizeAnswer]]) -> Finding:
    """Whether the migration failed as one does whose device fails a call."""
    done = [peer for peer in PEERS if evidence.endings.status(peer) == "completed"]
    if done:  # it may: what kept the other side from it is not known
        return RULE.unknown(f"{what}, and only the {done[0]} completed")
    failed, devices = wrong[0], {record.device for record in wrong}
    finding = device_failure.not_failed(RULE, evidence, what, failed)
    if finding is not None:
        return finding
    said = device_failure.naming(evidence, failed, devices)
    if not said:
        return device_failure.unnamed(RULE, evidence, what, failed, devices)
    return device_failure.runs_on(RULE, evidence, what, failed, said)


def _stopped_early(evidence: Evidence) -> Finding | None:
    """That the source stopped its guest with a total below what the devices reported."""
    counted = _decision(evidence)
    if counted is None:
        return None
    at_ns = counted.record.t_ns
    needed, shown, not_known = 0, list[Record[SizeAnswer]](), list[str]()
    for spec in evidence.scenario.emulated:
        asked = [
            record
            for record in evidence.of(SizeAnswer, Side.SOURCE, spec.id)
            if record.args.query == Query.DATA_SIZE.value and record.t_ns < at_ns
        ]
        if asked:
            size = _reported(evidence, spec, asked[-1], at_ns)
            if size is None:
                not_known.append(spec.id)
            needed += _left(evidence, spec, at_ns) if size is None else size
            shown.append(asked[-1])
    if counted.total >= min(needed, _UINT64_MAX):
        if not_known:
            taken = f"what the source took for the size of {' and '.join(not_known)} was not seen"
            return RULE.unknown(taken, total=counted.total)
        return None
    is_exact = convergence.is_exact(counted.record)
    how = "" if is_exact else ", without asking the devices for their sizes"
    return RULE.violated(
        f"the source stopped its guest with {counted.total} bytes pending{how}, but "
        f"{'; '.join(map(_words, shown))}: at least {needed} bytes",
        *shown,
        counted.record,
        interruption.switchover(evidence),
        shape="total-below-the-sizes" if is_exact else "sizes-not-asked-for",
        total=counted.total,
        reported=needed,
    )


def _reported(
    evidence: Evidence, spec: EmulatedDevice, answer: Record[SizeAnswer], at_ns: int
) -> int | None:
    """Bytes that must be counted for ``spec`` after its last answer; None if that is not known.

    Of an answer above 2^63 - 1 it is what QEMU itself has traced as the device's size: a stand-in,
    or the answer, which a sum with anything may overflow.
    """
    left = _left(evidence, spec, at_ns)
    if answer.args.errno:
        return left
    if answer.args.sizes[0] > INT64_MAX:
        taken = [
            record.args["stopcopy_size"]
            for name in _SIZE_TRACES
            for record in evidence.trace(Side.SOURCE, name, spec.id)
            if answer.t_ns < record.t_ns <= at_ns and "stopcopy_size" in record.args
        ]
        return max(left, taken[-1]) if taken else None
    return max(0, answer.args.sizes[0] - (answer.args.left - left))


def _left(evidence: Evidence, spec: EmulatedDevice, at_ns: int) -> int:
    """Bytes that ``spec`` had not given."""
    return spec.total_size - sum(
        record.args.got for record in evidence.of(Read, Side.SOURCE, spec.id) if record.t_ns < at_ns
    )


def _decision(evidence: Evidence) -> Total | None:
    """The last total before the source's stop; None if it did not switch over, or none is known."""
    stopped = interruption.switchover(evidence)
    if stopped is None or not _switched(evidence):
        return None
    totals = [
        Total(record, total)
        for record, total in convergence.pending(evidence)
        if record.t_ns < stopped.t_ns and not record.args.get("final")
    ]
    return totals[-1] if totals else None


def _switched(evidence: Evidence) -> bool:
    """Whether the source reported that it switched over."""
    return any(status in _SWITCHED for status, _ in evidence.endings.statuses[Side.SOURCE])


def _acknowledged_early(evidence: Evidence) -> Finding | None:
    """That an acknowledgement was asked for before all initial bytes were loaded, of a device
    that only fails to report them.
    """
    if not evidence.scenario.capabilities.get(_ACK):
        return None
    for spec in evidence.scenario.emulated:
        asked = [
            record
            for record in evidence.of(SizeAnswer, Side.SOURCE, spec.id)
            if record.args.query == Query.PRECOPY_INFO.value and record.args.planned
        ]
        if not asked or not all(record.args.errno for record in asked):
            continue
        flags = evidence.trace(Side.DESTINATION, _LOAD_STATE, spec.id)
        flag = next((each for each in flags if each.args["data"] == _INIT_DATA_SENT), None)
        if flag is None:
            continue
        loaded = sum(
            record.args["data_size"]
            for record in evidence.trace(Side.DESTINATION, MAIN_DATA, spec.id)
            if record.t_ns < flag.t_ns
        )
        if loaded < spec.precopy_initial_bytes:
            return RULE.violated(
                f"{_words(asked[0])}, and the source took its initial bytes for sent: the "
                f"destination had loaded {loaded} of {spec.precopy_initial_bytes}",
                asked[0],
                flag,
                shape="acknowledged-too-early",
            )
    return None
