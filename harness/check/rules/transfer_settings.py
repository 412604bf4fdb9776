"""The requirements about the path of the device state: SET-1, SET-2 and SET-3.

They differ only in the scenarios to which they apply; how each is judged is in
``check.transfer_path``.
"""

from harness.check.transfer_path import gets_there, rule
from harness.model.expectation import FIRST_MACHINE, Expectation, has_mapped_ram
from harness.model.settings import has_compression
from harness.scenario import Scenario

SET_1 = rule(
    "SET-1",
    "x-migration-multifd-transfer on, off and auto have their documented effect",
    """Each with multifd on and off.

    On without support is refused with its reason; off, and auto without support, carry the
    state on the main channel.  SET-2 and SET-3 say the same where compression, mapped-ram or
    an old machine type take the support away.
    """,
)
SET_2 = rule(
    "SET-2",
    "Compression and mapped-ram keep device state on the main channel",
    """With multifd compression or mapped-ram, on is refused, and auto falls back to the main
    channel.
    """,
)
SET_3 = rule(
    "SET-3",
    "Machine types of 9.2 and older keep device state on the main channel",
    """The transfer is off unless asked for, and not available (hw_compat_9_2 in
    hw/core/machine.c).
    """,
)


@SET_2.skips
def no_compression(scenario: Scenario, expectation: Expectation) -> str:
    if not has_compression(scenario) and not has_mapped_ram(scenario):
        return "neither compression nor mapped-ram"
    return gets_there(scenario, expectation)


@SET_3.skips
def newer_machine(scenario: Scenario, expectation: Expectation) -> str:
    if expectation.machine is None or expectation.machine >= FIRST_MACHINE:
        return "the machine type is newer than 9.2"
    return gets_there(scenario, expectation)
