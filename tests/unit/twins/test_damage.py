"""Finding and changing records."""

from typing import Any

import pytest

from harness.check.evidence import INCOMING, LOAD_START
from harness.history import Kind, Record, Side
from tests.twins.damage import Unfit, change, drop, first_device, one, pick, recount, swap
from tests.unit.check.histories import good, history, scenario

RECORDS: list[Record[Any]] = [
    Record(1, Side.SOURCE, Kind.TRACE, "a", {"idx": 1, "name": "VFIO_FD7"}, "vfio0"),
    Record(2, Side.DESTINATION, Kind.TRACE, "a", {"idx": 2}, "vfio0"),
    Record(3, Side.DESTINATION, Kind.TRACE, "b", {"idx": 2}, "vfio1"),
]


def test_records_are_picked_by_their_own_fields_and_by_args():
    assert pick(RECORDS, "a") == RECORDS[:2]
    assert pick(RECORDS, "a", "b", idx=2) == RECORDS[1:]
    assert pick(RECORDS, "a", "b", device="vfio1") == RECORDS[2:]
    assert pick(RECORDS, "c") == []


def test_one_is_the_last():
    assert one(RECORDS, "a") is RECORDS[1]
    with pytest.raises(Unfit, match="no record c or d"):
        one(RECORDS, "c", "d")


def test_drop_leaves_the_others_and_asks_for_one_to_drop():
    assert drop(RECORDS, "a", idx=1) == RECORDS[1:]
    with pytest.raises(Unfit):
        drop(RECORDS, "a", idx=9)


def test_change_makes_a_copy():
    new = change(RECORDS[0], t_ns=9, idx=5)
    assert (new.t_ns, new.args) == (9, {"idx": 5, "name": "VFIO_FD7"})
    assert RECORDS[0].args["idx"] == 1


def test_swap_changes_those_and_keeps_their_place():
    assert [r.args["idx"] for r in swap(RECORDS, RECORDS[:1], idx=7)] == [7, 2, 2]


def test_first_device_is_the_one_with_most_packets():
    assert first_device(list(good("multifd").records)) == "vfio0"
    with pytest.raises(Unfit, match="no packet"):
        first_device(list(history(scenario(), []).records))


def test_recount_follows_packets_to_their_channels():
    before = list(good("multifd").records)
    after = recount(before, swap(before, pick(before, INCOMING), channel=0))
    ends = {r.args["id"]: r.args["packets"] for r in pick(after, "multifd_recv_thread_end")}
    assert ends == {0: 28, 1: 1, 2: 1, 3: 1}
    same = recount(before, swap(before, pick(before, LOAD_START), tid=1))
    assert pick(same, "multifd_recv_thread_end") == pick(before, "multifd_recv_thread_end")
