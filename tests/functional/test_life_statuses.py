"""LIF-3 and LIF-4: either QEMU is killed, or the migration cancelled, at every status.

The statuses are those of the build under test (MigrationStatus of its QAPI schema).  The table
says how a scenario brings the source into each and holds it there, or why a migration of
VFIO devices never comes there; a status that it does not know fails a test by name.
"""

from typing import Any

import msgspec
import pytest

from harness.history import Kind, Side
from harness.history.session import Action as ActionDone
from harness.job.run import Run
from harness.pytest_plugin.fixtures import JudgedInTurn, Kept
from harness.scenario import MIB, EmulatedDevice, LoadBehaviour, SaveBehaviour, Scenario
from harness.scenario.action_plan import Action, Execute, Kill, Target, When, status
from harness.scenario.fault_plan import CloseChannel, Which
from harness.scenario.main_job import STAYS_ACTIVE
from tests.records import events, of

SOURCE, DESTINATION = Target.SOURCE, Target.DESTINATION
PAUSED = {"pause-before-switchover": True}
READ_S = 0.2  # of a slow source device
SLOW_SOURCE = EmulatedDevice(id="vfio0", size=3 * MIB, save=SaveBehaviour(read_delay_s=READ_S))
SLOW_DESTINATION = EmulatedDevice(id="vfio0", size=3 * MIB, load=LoadBehaviour(write_delay_s=0.3))
PLAIN = EmulatedDevice(id="vfio0", size=3 * MIB)


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """How the source comes to a status, and what keeps it there.

    :ivar fields: of the scenario
    :ivar before: actions that bring it there
    :ivar is_brief: nothing keeps it there: the action may come too late
    """

    device: EmulatedDevice = PLAIN
    fields: dict[str, Any] = {}
    before: tuple[Action, ...] = ()
    is_brief: bool = False


CANCELS = Execute(when=status(SOURCE, "active"), target=SOURCE, command="migrate_cancel")
TABLE: dict[str, Held | str] = {
    "none": "no migration was begun",
    # While it connects; test_life_setup.py holds it there once all channels are connected.
    "setup": Held(fields={"parameters": STAYS_ACTIVE}, is_brief=True),
    "active": Held(fields={"parameters": STAYS_ACTIVE}),
    "pre-switchover": Held(fields={"capabilities": PAUSED}),
    "device": Held(device=SLOW_SOURCE),
    "cancelling": Held(fields={"parameters": STAYS_ACTIVE}, before=(CANCELS,), is_brief=True),
    "failing": Held(device=SLOW_SOURCE, fields={"faults": (CloseChannel(which=Which.ALL),)}),
    "completed": "the migration is over: test_life_over.py",
    "cancelled": "the migration is over: test_life_over.py",
    "failed": "the migration is over: test_life_over.py",
    "postcopy-device": "VFIO devices refuse postcopy",
    "postcopy-active": "VFIO devices refuse postcopy",
    "postcopy-paused": "VFIO devices refuse postcopy",
    "postcopy-recover-setup": "VFIO devices refuse postcopy",
    "postcopy-recover": "VFIO devices refuse postcopy",
    "colo": "COLO is another kind of migration, asked for by its capability x-colo",
    "wait-unplug": "only a network device with a failover pair is unplugged first",
}
HELD = {name: held for name, held in TABLE.items() if isinstance(held, Held)}
ACTIONS: dict[str, Any] = {
    "kill the source": Kill(when=When(), target=SOURCE),
    "kill the destination": Kill(when=When(), target=DESTINATION),
    "cancel": Execute(when=When(), target=SOURCE, command="migrate_cancel"),
}


@pytest.fixture
def disturbed(judged_in_turn: JudgedInTurn, qemu_src):
    """Runs a scenario that is disturbed, and a second migration of the QEMU that runs the guest."""

    async def run(scenario: Scenario) -> tuple[Run, ...]:
        # What was set for the first migration stays set in a source that goes on.
        again = Scenario(
            name=f"{scenario.name}-again",
            qemu=str(qemu_src),
            devices=scenario.devices,
            capabilities={"pause-before-switchover": False},
        )
        return await judged_in_turn(msgspec.structs.replace(scenario, then=(again,)))

    return run


def _told(run: Run, name: str) -> list[int]:
    """When the source told the status ``name``."""
    return [
        record.t_ns
        for record in events(run)
        if record.side is Side.SOURCE
        and record.name == "MIGRATION"
        and record.args["status"] == name
    ]


def _status_at(run: Run, position: int) -> str:
    """The status that the source had told when the scenario's action was done."""
    (done,) = [record for record in of(run, ActionDone) if record.args.position == position]
    told = [
        record.args["status"]
        for record in events(run)
        if record.side is Side.SOURCE
        and record.kind is Kind.QMP
        and record.name == "MIGRATION"
        and record.t_ns <= done.t_ns
    ]
    return told[-1]


@pytest.mark.requirement("LIF-3", "LIF-4")
@pytest.mark.scenario(devices=(PLAIN,))
async def test_every_status_of_the_build_is_in_the_table(pair_booted) -> None:
    for peer in (pair_booted.source, pair_booted.destination):
        schema = await peer.vm.monitor.execute("query-qmp-schema")
        entities = {entity["name"]: entity for entity in schema}
        answer = entities[entities["query-migrate"]["ret-type"]]
        (member,) = [each for each in answer["members"] if each["name"] == "status"]
        known = [each["name"] for each in entities[member["type"]]["members"]]
        assert set(known) <= set(TABLE), f"no scenario for {set(known) - set(TABLE)}"


@pytest.mark.requirement("LIF-3", "LIF-4")
@pytest.mark.parametrize("what", ACTIONS)
@pytest.mark.parametrize("name", HELD)
async def test_action_at_each_status(
    disturbed, kept: Kept, qemu_facts, name: str, what: str
) -> None:
    held = HELD[name]
    source, _ = qemu_facts
    if name == "failing" and source.facts.version < (11, 0):
        pytest.skip("this build has no status failing: it says failed at once")
    action = msgspec.structs.replace(ACTIONS[what], when=status(SOURCE, name))
    more = _continue_when_paused(name, what)
    run, *after = await disturbed(
        Scenario(
            name=f"{name}-{what}".replace(" ", "-"),
            devices=(held.device,),
            actions=(*held.before, action, *more),
            **held.fields,
        )
    )
    at = _status_at(run, len(held.before))
    assert at == name or held.is_brief, f"the action came at {at}; see {run.rundir}"
    requirement = "LIF-4" if what == "cancel" else "LIF-3"
    kept(run, requirement)
    for following in after:
        after_cancel = following.verdict.finding("LIF-4") is not None
        kept(following, "RUN", "ORD-1", *(["LIF-4"] if after_cancel else []))
    if not after:
        assert what == "kill the source", f"nobody went on; see {run.rundir}"


def _continue_when_paused(name: str, what: str) -> tuple[Action, ...]:
    """A source that is paused notices its destination's death when it is told to go on."""
    if (name, what) != ("pre-switchover", "kill the destination"):
        return ()
    gone = When(kind="process", name="exited", side="destination")
    arguments = {"state": "pre-switchover"}
    return (Execute(when=gone, target=SOURCE, command="migrate-continue", arguments=arguments),)


# -- once all is sent ---------------------------------------------------------------------

SENT = When(kind="device", side="destination", name="write")
"""The destination has written the first buffer, slowly; all has been sent meanwhile."""


@pytest.mark.requirement("LIF-4")
async def test_cancel_once_all_is_sent_leaves_one_guest(disturbed, kept: Kept) -> None:
    cancel = Execute(when=SENT, target=SOURCE, command="migrate_cancel")
    run, *_ = await disturbed(
        Scenario(name="sent", relay=True, devices=(SLOW_DESTINATION,), actions=(cancel,))
    )
    assert _told(run, "device"), "nothing was sent"
    kept(run, "LIF-4", case="cancel once all is sent")


@pytest.mark.requirement("LIF-3")
async def test_destination_that_dies_while_it_loads_costs_no_guest(disturbed, kept: Kept) -> None:
    kill = Kill(when=SENT, target=DESTINATION)
    run, *after = await disturbed(
        Scenario(name="sent", relay=True, devices=(SLOW_DESTINATION,), actions=(kill,))
    )
    kept(run, "LIF-3")
    assert after, "the source did not go on"
    kept(after[0], "RUN", "ORD-1")


@pytest.mark.requirement("LIF-3")
async def test_source_that_dies_as_the_load_begins_does_not_kill_the_destination(
    disturbed, kept: Kept
) -> None:
    kill = Kill(when=status(SOURCE, "device"), target=SOURCE)
    for _ in range(4):
        run, *_ = await disturbed(
            Scenario(name="begin", devices=(SLOW_DESTINATION,), actions=(kill,))
        )
        kept(run, "LIF-3")
