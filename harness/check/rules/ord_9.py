"""ORD-9: A destination device that differs is refused, and the error names it.

It has other PCI ids, another BAR size, or other contents in a vendor-specific capability, or there
are more or fewer devices than at the source.  QEMU compares the config space when it loads it
(``get_pci_config_device()`` in hw/pci/pci.c), but only the bytes that it has marked for that; and
each section of the stream must have its device (``qemu_loadvm_section_start_full()`` in
migration/savevm.c).  Contents of a vendor-specific capability are compared with
``skip-vsc-check=off`` only; without it they are not judged.

The destination must fail, with an error that names one of the devices that differ: by its id, by
its name in QEMU's trace, or by its place on the bus.  The source must not be lost; LIF-9 judges
whether it reports that it completed.  ORD-9 is VIOLATED if the destination completes or if nothing
ends, unless the machine was too busy or state still moved.  Where the name that QEMU has for the
device was not seen, an error without a name is UNKNOWN.
"""

import re

from harness.check import differing
from harness.check.assumptions import Assumption
from harness.check.evidence import Evidence
from harness.check.rule import Rule
from harness.check.verdict import Finding
from harness.history.records import Side
from harness.model.expectation import Ending, Expectation
from harness.scenario import Scenario

RULE = Rule(
    id="ORD-9",
    title="A destination device that differs is refused, and the error names it",
    trusts=(Assumption.ENDINGS_KNOWN,),
)
_PLACE = re.compile(r"devices\[(\d+)\](?:\.(.*))?")


@RULE.skips
def skip_reason(_scenario: Scenario, expectation: Expectation) -> str:
    if expectation.ending is Ending.DEVICE_REFUSED:
        return ""
    return "the devices of both sides are the same, as far as a QEMU compares them"


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    scenario = evidence.scenario
    found = [match for place in scenario.differing if (match := _PLACE.fullmatch(place))]
    what = f"{', '.join(match[0] for match in found)} of the destination"
    kind = _kind(scenario, [match[2] or "" for match in found])
    if (finding := differing.not_the_same_end(RULE, evidence, what, kind)) is not None:
        return finding
    endings = evidence.endings
    if endings.is_completed:
        return RULE.violated(
            f"{what}: it must be refused, but both sides completed",
            endings.last_status(Side.SOURCE),
            endings.last_status(Side.DESTINATION),
            shape=f"accepted-{kind}",
        )
    said = endings.texts(Side.DESTINATION)
    devices = max((scenario.devices, scenario.at_destination.devices), key=len)
    ids = {devices[int(match[1])].id for match in found}
    for _, text in said:
        if any(differing.is_named(evidence, device, text) for device in ids):
            return RULE.valid(f"{what}: it was refused, and the error names the device", said=text)
    if not said:
        return RULE.unknown(f"{what}: the destination failed without an error")
    if not all(differing.has_name(evidence, device) for device in ids):
        return RULE.unknown(f"{what}: the name that QEMU has for the device was not seen")
    record, text = said[-1]
    return RULE.violated(
        f'{what}: the error must name {" or ".join(sorted(ids))}: "{text}"',
        record,
        shape=f"unnamed-{kind}",
    )


def _kind(scenario: Scenario, fields: list[str]) -> str:
    """The difference that decides, as a word: that which QEMU can see first."""
    here, there = len(scenario.devices), len(scenario.at_destination.devices)
    if here != there:
        return "device-missing" if here > there else "device-too-many"
    return "-".join(sorted(field.replace("_", "-") for field in fields))
