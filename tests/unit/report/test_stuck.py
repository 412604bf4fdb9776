"""A migration that did not end: who waits for what, and what became of it."""

import pytest

from harness.history import Kind, Record, Side
from harness.history.builds import BuildFacts
from harness.history.process import Hung
from harness.history.rundir import History, Manifest
from harness.history.session import Deadline, Standstill
from harness.history.wire import Fault, PacketIn, PacketOut
from harness.report.stuck import describe
from harness.scenario import Scenario
from harness.scenario.fault_plan import Drop, Select

DROP = Drop(select=Select(idx=(3,)))
BUILD = BuildFacts(path="", version=(10, 0, 0), version_text="")


def trace(event, idx, device="vfio0"):
    name = f"vfio_load_state_device_buffer_{event}"
    return Record(1, Side.DESTINATION, Kind.TRACE, name, {"idx": idx}, device)


def packet(kind, idx, channel=2):
    body = kind(idx=idx, state_flags=0, instance_id=0, size=0, digest="")
    return Record.of(1, Side.HARNESS, body, "vfio0", channel)


DEADLINE = Record.of(1, Side.HARNESS, Deadline(waiting_for="the end", deadline_s=2))


def hung(side, loop, monitor):
    body = Hung(waiting_for="the end", backtrace="", main_loop_alive=loop, monitor_alive=monitor)
    return Record.of(1, side, body)


def told(*records, **scenario):
    manifest = Manifest(
        harness="0", scenario="s", started_ns=0, ended_ns=9, source=BUILD, destination=BUILD,
        complete=True,
    )  # fmt: skip
    return describe(History(Scenario(name="s", **scenario), manifest, records))


def test_migration_that_ended_has_nothing_to_report():
    assert told(trace("starved", 3)) == ()


def test_standstill_comes_first():
    still = Record.of(1, Side.HARNESS, Standstill(2.04, 0.0, {"source": 11, "destination": 9}))
    seen, _ = told(still, DEADLINE, trace("starved", 3), relay=True)
    assert seen == (
        "nothing had moved for 2.0 s: no trace event, no byte, no event, no access to a device, "
        "and all threads were asleep (11 of the source and 9 of the destination)"
    )


def test_packet_that_a_fault_took_is_reported_with_its_channel_and_the_fault():
    (line,) = told(
        packet(PacketIn, 3),
        Record.of(
            1, Side.HARNESS, Fault(fault="drop", position=0, what="dropped", idx=3), "vfio0", 2
        ),
        trace("starved", 3),
        DEADLINE,
        faults=(DROP,),
    )
    assert line == (
        "vfio0 waits for packet 3: received by the relay on channel 2; fault 1 "
        "(drop packet 3): dropped; never sent to the destination"
    )


def test_packet_that_a_fault_made_another_one_was_sent_all_the_same():
    what = "idstr = '0000:00:03.0/vfio'"
    fault = Fault(fault="rewrite", position=0, what=what, idx=3)
    (line,) = told(
        packet(PacketIn, 3),
        Record.of(1, Side.HARNESS, fault, "vfio0", 2),
        trace("starved", 3),
        DEADLINE,
        faults=(DROP,),
    )
    assert line.endswith(f"{what}; not sent to the destination as what it was")


@pytest.mark.parametrize(
    ("wires", "words"),
    [
        ([], "never received by the relay; never sent to the destination"),
        (
            [packet(PacketIn, 3), packet(PacketOut, 3, channel=1), packet(PacketOut, 4)],
            "received by the relay on channel 2; sent to the destination on channel 1",
        ),
    ],
)
def test_packet_that_nothing_took(wires, words):
    (line,) = told(*wires, trace("starved", 3), DEADLINE, relay=True)
    assert line == f"vfio0 waits for packet 3: {words}"


def test_without_a_relay_its_way_is_not_known():
    assert told(trace("starved", 3), DEADLINE) == (
        "vfio0 waits for packet 3: without a relay its way is not known",
    )


@pytest.mark.parametrize(
    "after",
    [
        trace("load_start", 3),
        Record(1, Side.DESTINATION, Kind.TRACE, "vfio_load_device_config_state_start", {}, "vfio0"),
    ],
)
def test_device_that_got_its_packet_does_not_wait(after):
    assert told(trace("starved", 3), after, DEADLINE) == ()


def test_what_each_side_still_answers_and_said_last():
    query = {"command": "query-migrate", "value": {"status": "device"}}
    assert told(
        Record(1, Side.SOURCE, Kind.QMP, "MIGRATION", {"status": "active"}),
        Record(1, Side.DESTINATION, Kind.QMP, "MIGRATION", {"status": "active"}),
        DEADLINE,
        hung(Side.SOURCE, True, True),
        hung(Side.DESTINATION, False, True),
        Record(1, Side.SOURCE, Kind.QMP, "return", query),
        Record(1, Side.SOURCE, Kind.QMP, "execute", {"command": "quit"}),
        Record(1, Side.SOURCE, Kind.QMP, "MIGRATION", {"status": "cancelling"}),
    ) == (
        "source: the main loop responds, the monitor responds out-of-band",
        "destination: the main loop does not respond, the monitor responds out-of-band",
        "source: the last migration status is device",
        "destination: the last migration status is active",
    )


def test_state_that_is_not_known_is_not_reported():
    """Wrong if a monitor that was not queried is reported as one that does not respond."""
    assert told(DEADLINE, hung(Side.SOURCE, True, None), hung(Side.DESTINATION, None, None)) == (
        "source: the main loop responds",
        "destination: it is not known whether it responds",
    )


def test_quit_that_the_scenario_wants_hides_no_status():
    """It comes before the deadline; what comes after the harness's own does not count."""
    found = told(
        Record(1, Side.SOURCE, Kind.QMP, "execute", {"command": "quit"}),
        Record(1, Side.DESTINATION, Kind.QMP, "MIGRATION", {"status": "active"}),
        DEADLINE,
        Record(1, Side.DESTINATION, Kind.QMP, "execute", {"command": "quit"}),
        Record(1, Side.DESTINATION, Kind.QMP, "MIGRATION", {"status": "failed"}),
    )
    assert found == ("destination: the last migration status is active",)
