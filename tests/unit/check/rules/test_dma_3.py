"""DMA-3: the ranges of a log."""

import msgspec
import pytest

from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history.records import Record
from tests.twins.damage import some, swap
from tests.twins.twin import twin
from tests.unit.check.histories import completed, find, good, scenario
from tests.unit.check.written import LOG, with_dma, writing

PAGE = 4096


@twin("DMA-3", on="dma")
def ram_above_4_gib_is_forgotten(records: list[Record]) -> list[Record]:
    return swap(records, some(records, "dma_log"), mapped=[(0, 1 << 20), (1 << 32, 1 << 20)])


@twin("DMA-3", on="dma")
def range_for_each_section(records: list[Record]) -> list[Record]:
    return swap(records, some(records, "dma_log"), count=300, ranges=[], errno=7)


def of(**fields):
    log = msgspec.structs.replace(LOG, count=len(fields.get("ranges", "1")), **fields)
    return find(with_dma(completed(scenario(writing())), log=log), "DMA-3")


def test_mappings_are_counted():
    finding = find(good("dma"), "DMA-3")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers == {"mappings": 4, "ranges": 1}


def test_run_without_a_log_is_not_judged():
    why = judge(good("dma without a log")).not_applicable["DMA-3"]
    assert why == "no device was asked to keep a log"


@pytest.mark.parametrize(
    ("ranges", "shape"),
    [
        ([(0, PAGE)], "mapping-not-covered"),
        ([(0, 2 * PAGE)], ""),
        ([(PAGE, PAGE), (0, PAGE)], ""),
        ([(0, PAGE), (2 * PAGE, PAGE)], "mapping-not-covered"),
        ([(0, 2 * PAGE), (PAGE, PAGE)], "malformed-range"),
        ([(0, 2 * PAGE), (4 * PAGE, 1)], "malformed-range"),
        ([(1, 2 * PAGE)], "malformed-range"),
        ([(0, 2 * PAGE), (4 * PAGE, 0)], "malformed-range"),
        ([(n * 2 * PAGE, 2 * PAGE) for n in range(257)], "number-of-ranges"),
    ],
)
def test_ranges_as_linux_takes_them(ranges, shape):
    finding = of(ranges=ranges, mapped=[(0, 2 * PAGE)])
    assert finding.shape == shape
    assert finding.outcome is (Outcome.VIOLATED if shape else Outcome.VALID)


def test_mapping_that_is_not_covered_is_named():
    finding = of(ranges=[(0, PAGE)], mapped=[(0, PAGE), (5 * PAGE, PAGE)])
    assert finding.sentence == (
        "vfio0: 0x1000 bytes are mapped at 0x5000, and no range covers them"
    )


def test_nothing_mapped_is_unknown():
    assert of(mapped=[]).outcome is Outcome.UNKNOWN
