"""The names by which a QEMU may report a device."""

import pytest

from harness.check import names
from harness.check.evidence import Evidence, Seen
from harness.history.process import Launched
from harness.history.records import Kind
from harness.history.rundir import History
from harness.model.expectation import expect
from tests.unit.check.story import DST, FACTS, SRC, Story, device, history, scenario

OPTION = "vfio-pci,addr=0x1f,id=vfio1,fd=14"


def evidence(*argv: str) -> Evidence:
    story = Story()
    story.put(SRC, Launched(argv=["qemu-system-x86_64", *argv], pid=1))
    story.add(SRC, Kind.TRACE, "vfio_save_setup", "vfio1", tid=1, name="VFIO_FD14")
    story.add(DST, Kind.TRACE, "vfio_load_setup", "vfio1", tid=1, name="VFIO_FD15")
    return of(history(scenario(device("vfio0"), device("vfio1")), story.records))


def of(run: History) -> Evidence:
    return Evidence(Seen(run), expect(run.scenario, FACTS, FACTS))


def test_id_name_of_the_trace_and_section():
    known = evidence("-device", OPTION)
    assert names.names(known, "vfio1", SRC) == {"vfio1", "VFIO_FD14", "0000:00:1f.0/vfio"}
    assert names.names(known, "vfio1", SRC, DST) == {
        "vfio1", "VFIO_FD14", "VFIO_FD15", "0000:00:1f.0/vfio",
    }  # fmt: skip


@pytest.mark.parametrize("option", [
    "vfio-pci,id=vfio10,addr=0x1f",
    "vfio-pci,id=vfio1",
    "e1000e,addr=0x1f",
])  # fmt: skip
def test_place_that_is_not_known(option):
    known = evidence("-device", option)
    assert names.place_of(known, SRC, "vfio1") == ""
    assert names.places(known, "vfio1") == set()
    assert names.names(known, "vfio1", SRC) == {"vfio1", "VFIO_FD14"}


def test_place_is_one_of_the_side():
    known = evidence("-device", OPTION)
    assert names.place_of(known, SRC, "vfio1") == "0000:00:1f.0"
    assert names.place_of(known, DST, "vfio1") == ""
    assert names.traced(known, "vfio0", SRC, DST) == set()
