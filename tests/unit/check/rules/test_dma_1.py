"""DMA-1: what a device writes by DMA arrives."""

import pytest

from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history.device import DmaPages, DmaWrite
from harness.history.records import Record
from tests.twins.damage import one, some, swap
from tests.twins.twin import twin
from tests.unit.check.histories import changed, completed, find, good, scenario
from tests.unit.check.story import DST, SRC
from tests.unit.check.written import pages, with_dma, writing

FIRST, SECOND = "0x400000", "0x401000"


def with_page(records, address, page, device="vfio0"):
    arrived = one(records, "dma_pages", side=DST, device=device)
    return swap(records, [arrived], pages={**arrived.args.pages, address: page})


@twin("DMA-1", on="dma")
def page_of_the_last_round_is_not_sent(records: list[Record]) -> list[Record]:
    """A QEMU that does not ask for the log once the device has stopped."""
    one(records, "dma_pages", side=DST, device="vfio0")
    return with_page(records, SECOND, (2, "0" * 16))


@twin("DMA-1", on="dma")
def page_is_never_sent(records: list[Record]) -> list[Record]:
    """A QEMU that looks for the bit of a page at another place."""
    return with_page(records, FIRST, (0, "0" * 16))


def test_all_pages_are_compared():
    finding = find(good("dma"), "DMA-1")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers == {"pages": 4, "logged_writes": 4}


def test_device_without_dma_is_not_judged():
    assert judge(completed(scenario())).not_applicable["DMA-1"] == "no device makes DMA"


def test_page_that_is_lost_is_named():
    run = good("dma")
    finding = find(changed(run, with_page(run.records, SECOND, (2, "0" * 16))), "DMA-1")
    assert finding.outcome is Outcome.VIOLATED
    assert finding.shape == "page-differs"
    assert finding.sentence == ("vfio0: page 0x401000 has what the device wrote as number 2 of 3")


def test_page_that_a_device_leaves_out_is_named_and_not_held_against_qemu():
    run = with_dma(completed(scenario(writing(omits=(1,)))))
    finding = find(changed(run, with_page(run.records, SECOND, (1, "0" * 16))), "DMA-1")
    assert finding.outcome is Outcome.VIOLATED
    assert finding.shape == "page-left-out-of-the-log"
    assert "page 0x401000 has what the device wrote as number 1 of 3" in finding.sentence
    assert finding.sentence.endswith("the device left it out of its log, as planned")


def test_other_page_than_the_one_left_out_is_qemus():
    run = with_dma(completed(scenario(writing(omits=(1,)))))
    finding = find(changed(run, with_page(run.records, FIRST, (1, "0" * 16))), "DMA-1")
    assert finding.shape == "page-differs"


def test_page_left_out_that_arrived_all_the_same_makes_the_run_unknown():
    run = with_dma(completed(scenario(writing(omits=(1,)))))
    assert find(run, "DMA-1").outcome is Outcome.VALID
    finding = find(run, "RUN")
    assert finding.outcome is Outcome.UNKNOWN
    assert "pages that a log leaves out arrived all the same: vfio0" in finding.sentence


def last_write(run, side=SRC):
    return [r for r in run.records if isinstance(r.args, DmaWrite)][-1]


@pytest.mark.parametrize("side", [SRC, DST])
def test_pages_that_were_not_read_are_unknown(side):
    run = good("dma")
    gone = one(run.records, "dma_pages", side=side)
    finding = find(changed(run, [r for r in run.records if r is not gone]), "DMA-1")
    assert finding.outcome is Outcome.UNKNOWN
    assert finding.sentence == "vfio1: the pages were not read on both sides"


def test_page_that_something_else_wrote_at_the_source_is_unknown():
    run = good("dma")
    ours = one(run.records, "dma_pages", side=SRC, device="vfio0")
    other = {**ours.args.pages, FIRST: (9, "f" * 16)}
    finding = find(changed(run, swap(list(run.records), [ours], pages=other)), "DMA-1")
    assert finding.outcome is Outcome.UNKNOWN
    assert "other pages than the device wrote" in finding.sentence


def test_destination_that_writes_before_its_pages_are_read_is_unknown():
    run = with_dma(completed(scenario(writing())))
    theirs = one(run.records, "dma_pages", side=DST)
    body = DmaWrite(number=1, moment="before it stops", pages=2, logged=False)
    for t_ns, outcome in ((theirs.t_ns - 1, Outcome.UNKNOWN), (theirs.t_ns + 1, Outcome.VALID)):
        more = Record.of(t_ns, DST, body, "vfio0")
        assert find(changed(run, [*run.records, more]), "DMA-1").outcome is outcome


def test_source_that_writes_after_the_migration_is_unknown():
    run = with_dma(completed(scenario(writing())))
    ours = one(run.records, "dma_pages", side=SRC)
    body = DmaWrite(number=4, moment="before it stops", pages=2, logged=False)
    more = Record.of(ours.t_ns - 1, SRC, body, "vfio0")
    (spec,) = run.scenario.emulated
    records = swap([*run.records, more], [ours], pages=pages(spec, 4))
    finding = find(changed(run, records), "DMA-1")
    assert finding.sentence == "vfio0: the device wrote after the migration"


def test_log_in_which_nothing_was_written_is_unknown():
    run = good("dma")
    records = swap(list(run.records), some(run.records, "dma_write"), logged=False)
    finding = find(changed(run, records), "DMA-1")
    assert finding.outcome is Outcome.UNKNOWN
    assert "wrote nothing while its log was kept" in finding.sentence


def test_page_that_is_mapped_on_one_side_only_is_unknown():
    run = good("dma")
    theirs = one(run.records, "dma_pages", side=DST)
    records = [r for r in run.records if r is not theirs]
    records.append(Record.of(theirs.t_ns, DST, DmaPages({}), theirs.device))
    assert find(changed(run, records), "DMA-1").outcome is Outcome.UNKNOWN


def test_migration_that_did_not_complete_is_unknown():
    run = good("dma")
    records = swap(list(run.records), some(run.records, "MIGRATION"), status="failed")
    kept = [r for r in records if r.name not in ("RESUME", "return")]
    assert find(changed(run, kept), "DMA-1").outcome is Outcome.UNKNOWN
