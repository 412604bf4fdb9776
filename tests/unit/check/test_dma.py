"""Comparing what devices wrote by DMA."""

from harness.check import dma
from harness.check.judge import gather
from tests.twins.damage import one, pick, swap
from tests.unit.check.histories import changed, good
from tests.unit.check.story import DST


def compared(run):
    evidence = gather(run)
    return dma.compare(evidence, evidence.scenario.emulated[0])


def test_pages_that_agree():
    found = compared(good("dma"))
    assert (found.why_not, found.pages, found.lost) == ("", 2, {})


def test_words_say_what_arrived():
    run = good("dma")
    arrived = one(run.records, "dma_pages", side=DST, device="vfio0")
    pages = {"0x400000": (0, "0"), "0x401000": (77, "0")}
    found = compared(changed(run, swap(list(run.records), [arrived], pages=pages)))
    assert found.lost == {
        "0x400000": "was never written at the destination; the device wrote it 3 times",
        "0x401000": "has other bytes at the destination",
    }
    assert found.words(["0x401000"]) == "page 0x401000 has other bytes at the destination"
    assert found.words(list(found.lost)).startswith("page 0x400000 (and 1 pages more) was never")


def test_device_with_a_log_and_without():
    assert dma.has_log(gather(good("dma")), "vfio0")
    assert not dma.has_log(gather(good("dma without a log")), "vfio0")
    failed = gather(good("dma, a log fails"))
    assert not dma.has_log(failed, "vfio0")
    assert [dma.call_of(each) for each in dma.failures(failed, "vfio0")] == ["start"]


def test_scenario_without_dma_says_so():
    assert dma.why_no_dma(good("multifd").scenario) == "no device makes DMA"
    assert dma.why_no_dma(good("dma").scenario) == ""


def test_last_write_of_zeros_is_known_by_no_number():
    run = good("dma")
    records = list(run.records)
    for write in pick(records, "dma_write", device="vfio0", number=3):
        records = swap(records, [write], zeros=True)
    zeros = dict.fromkeys(("0x400000", "0x401000"), (0, "2" * 16))
    records = swap(records, pick(records, "dma_pages", device="vfio0"), pages=zeros)
    found = compared(changed(run, records))
    assert (found.why_not, found.lost) == ("", {})
    arrived = pick(records, "dma_pages", device="vfio0", side=DST)
    stale = {**zeros, "0x401000": (2, "3" * 16)}
    found = compared(changed(run, swap(records, arrived, pages=stale)))
    assert found.lost == {
        "0x401000": "has what the device wrote as number 2 of 3, which were zeros"
    }
