"""SET-10: Settings that differ between the sides are refused within seconds, or work.

The destination may be given another number of channels, another machine type, or multifd, a
return path or ``x-migration-multifd-transfer`` where the source has none (``destination`` of a
scenario); or other capabilities, parameters or properties of ``vfio-pci`` (``settings.kind_of()``
in harness/model/ has those that are known).  QEMU compares none of these but the machine type
(``configuration_post_load()`` in migration/savevm.c), and finds another compression in the flags of
each packet; its documentation does not say which must agree.  So either end is right: the migration
completes, and the devices hold the source's bytes; or both sides fail with an error, and the source
keeps its VM.  Where a setting is of one side alone, such as a level of compression, a difference is
none: the migration must complete.  RAM of another size must be refused (``parse_ramblock()`` in
migration/ram.c).  TLS on one side only is SET-5.

A migration that does not end is VIOLATED, unless the machine was too busy or state still moved.
A source that stays in pre-copy is UNKNOWN, unless only it has switchover-ack, and it had nothing
else to wait for while the destination had time.  VALID requires that both ends were seen.  LIF-9
judges whether a source reports that it completed, although the destination failed.
"""

from harness.check import convergence, differing
from harness.check.assumptions import Assumption
from harness.check.evidence import Evidence
from harness.check.rule import Rule
from harness.check.verdict import Finding
from harness.history import session
from harness.history.records import Record, Side
from harness.model import settings
from harness.model.expectation import Ending, Expectation
from harness.scenario import Scenario

RULE = Rule(
    id="SET-10",
    title="Settings that differ between the sides are refused within seconds, or work",
    trusts=(Assumption.ENDINGS_KNOWN,),
)

_ACK = "switchover-ack"
_LONG_NS = 4_000_000_000
"""A destination that has begun so long ago would have acknowledged."""


@RULE.skips
def skip_reason(scenario: Scenario, expectation: Expectation) -> str:
    is_ack_awaited = expectation.ending is Ending.NOT_CONVERGED and _awaits_ack(scenario)
    if expectation.ending is Ending.SIDES_DIFFER or is_ack_awaited:
        return ""
    return "no setting differs between the sides"


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    what, kind = ", ".join(evidence.scenario.differing), _kind(evidence.scenario)
    what = f"{what} of the destination"
    if (over := convergence.not_converged(evidence)) is not None:
        return _not_converged(evidence, over, what)
    if (finding := differing.not_the_same_end(RULE, evidence, what, kind)) is not None:
        return finding
    if evidence.endings.is_completed and "ram_mib" in evidence.scenario.differing:
        return RULE.violated(
            f"{what}: RAM of another size must be refused, but it completed",
            *(evidence.endings.last_status(side) for side in evidence.endings.statuses),
            shape="accepted-ram-size",
        )
    if evidence.endings.is_completed:
        return differing.loaded(RULE, evidence, what, kind)
    said = differing.says(evidence)
    if not said:
        return RULE.violated(
            f"{what}: it was refused without a reason",
            *(evidence.endings.last_status(side) for side in evidence.endings.statuses),
            shape="no-reason",
        )
    return RULE.valid(f"{what}: it was refused on both sides", said=said[-1][1])


def _awaits_ack(scenario: Scenario) -> bool:
    """Whether only the source has switchover-ack: nothing acknowledges then."""
    return settings.has(scenario, _ACK) and not settings.has(scenario.at_destination, _ACK)


def _not_converged(evidence: Evidence, over: Record[session.NotConverged], what: str) -> Finding:
    """Of a source that has less pending than it may leave, and waits for its destination."""
    standing = convergence.standing(evidence, over)
    begun = [
        record.t_ns
        for status, record in evidence.endings.statuses[Side.DESTINATION]
        if status == "active"
    ]
    had_time = bool(begun) and over.t_ns - begun[0] >= _LONG_NS
    if standing is None or not standing.should_have_switched or not had_time:
        return RULE.unknown(f"{what}: the source was in pre-copy at the deadline")
    return RULE.violated(
        f"{what}: it must be refused within seconds, or work; but the source does not switch over "
        f"({standing.words}) and waits for an acknowledgement",
        *standing.evidence,
        shape="waits-for-switchover-ack",
    )


def _kind(scenario: Scenario) -> str:
    """The difference that decides, as a word."""
    there = scenario.at_destination
    if scenario.multifd != there.multifd:
        return f"multifd-at-the-{'source' if scenario.multifd else 'destination'}-only"
    if scenario.multifd and scenario.channels != there.channels:
        return f"source-has-{'more' if scenario.channels > there.channels else 'fewer'}-channels"
    return "settings-differ"
