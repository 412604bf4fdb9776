"""SET-10: Settings that differ between the sides are refused within seconds, or work.

The destination may be given another number of channels, another machine type, or multifd, a
return path or ``x-migration-multifd-transfer`` where the source has none (``destination`` of a
scenario); or other capabilities, parameters or properties of ``vfio-pci`` (``settings.kind_of()``
in harness/model/ has those that are known).  QEMU compares none of these but the machine type
(``configuration_post_load()`` in migration/savevm.c), and finds another compression in the flags of
each packet; its documentation does not say which must agree.  So either end is right: the migration
completes, and the devices hold the source's bytes; or both sides fail with an error, and the source
keeps its VM.  Where a setting is of one side alone, such as a level of compression, a difference is
none: the migration must complete.  TLS on one side only is SET-5.

A migration that does not end is VIOLATED, unless the machine was too busy or state still moved.
VALID requires that both ends were seen.  LIF-9 judges whether a source reports that it completed,
although the destination failed.
"""

from harness.check import differing
from harness.check.assumptions import Assumption
from harness.check.evidence import Evidence
from harness.check.rule import Rule
from harness.check.verdict import Finding
from harness.model.expectation import Ending, Expectation
from harness.scenario import Scenario

RULE = Rule(
    id="SET-10",
    title="Settings that differ between the sides are refused within seconds, or work",
    trusts=(Assumption.ENDINGS_KNOWN,),
)


@RULE.skips
def skip_reason(_scenario: Scenario, expectation: Expectation) -> str:
    if expectation.ending is Ending.SIDES_DIFFER:
        return ""
    return "no setting differs between the sides"


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    what, kind = ", ".join(evidence.scenario.differing), _kind(evidence.scenario)
    what = f"{what} of the destination"
    if (finding := differing.not_the_same_end(RULE, evidence, what, kind)) is not None:
        return finding
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


def _kind(scenario: Scenario) -> str:
    """The difference that decides, as a word."""
    there = scenario.at_destination
    if scenario.multifd != there.multifd:
        return f"multifd-at-the-{'source' if scenario.multifd else 'destination'}-only"
    if scenario.multifd and scenario.channels != there.channels:
        return f"source-has-{'more' if scenario.channels > there.channels else 'fewer'}-channels"
    return "settings-differ"
