"""What the devices wrote to the guest's RAM by DMA, and what of it arrived.

Pages are compared only if both QEMUs completed, each page at the source has the device's last
write, and nothing wrote at the destination before its pages were read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.check.evidence import Evidence
from harness.history.device import DmaLog, DmaPages, DmaWrite, LogCall
from harness.history.records import Record, Side
from harness.scenario import EmulatedDevice, Scenario

SRC, DST = Side.SOURCE, Side.DESTINATION


def why_no_dma(scenario: Scenario) -> str:
    """Why no device of ``scenario`` writes to the guest's RAM; "" if one does."""
    return "" if any(spec.dma.pages for spec in scenario.emulated) else "no device makes DMA"


def has_log(evidence: Evidence, device: str) -> bool:
    """Whether a log of what the device writes was kept."""
    return any(not record.args.errno for record in evidence.of(DmaLog, SRC, device))


def failures(evidence: Evidence, device: str) -> list[Record[DmaLog] | Record[LogCall]]:
    """Calls about its log that the device has failed, in order."""
    calls: list[Record[DmaLog] | Record[LogCall]] = [
        *(record for record in evidence.of(DmaLog, SRC, device) if record.args.errno),
        *(record for record in evidence.of(LogCall, SRC, device) if record.args.errno),
    ]
    return sorted(calls, key=lambda record: record.t_ns)


def call_of(failure: Record[DmaLog] | Record[LogCall]) -> str:
    """Which call it was: start, report, stop."""
    return failure.args.call if isinstance(failure.args, LogCall) else "start"


@dataclass(slots=True)
class Comparison:
    """The pages of one device at the destination against those at the source."""

    why_not: str = ""
    """Why they cannot be compared; "" if they were."""
    pages: int = 0
    lost: dict[str, str] = field(default_factory=dict)
    """Address of each page that differs -> what the destination has, in words."""
    records: Sequence[Record] = ()

    def words(self, addresses: Sequence[str]) -> str:
        """The first of ``addresses`` with what became of it, and how many more there are."""
        more = f" (and {len(addresses) - 1} pages more)" if len(addresses) > 1 else ""
        return f"page {addresses[0]}{more} {self.lost[addresses[0]]}"


def compare(evidence: Evidence, spec: EmulatedDevice) -> Comparison:
    """What arrived of the pages that ``spec`` has written."""
    writes = evidence.of(DmaWrite, SRC, spec.id)
    if not writes:
        return Comparison("it wrote nothing while its log could be kept")
    if not evidence.endings.is_completed:
        return Comparison("the migration did not complete")
    ours, theirs = (evidence.of(DmaPages, side, spec.id) for side in (SRC, DST))
    if not ours or not theirs:
        return Comparison("the pages were not read on both sides")
    completed = next(
        (record for status, record in evidence.endings.statuses[SRC] if status == "completed"), None
    )
    last = writes[-1]
    if completed is None or last.t_ns > completed.t_ns:
        return Comparison("the device wrote after the migration")
    if any(record.t_ns < theirs[-1].t_ns for record in evidence.of(DmaWrite, DST, spec.id)):
        return Comparison("the destination's device wrote, too")
    sent, arrived = ours[-1].args.pages, theirs[-1].args.pages
    if set(sent) != set(arrived) or not sent:
        return Comparison("not every page is mapped on both sides")
    wanted = 0 if last.args.zeros else last.args.number
    if any(number != wanted for number, _ in sent.values()):
        return Comparison("the source has other pages than the device wrote")
    lost = {
        address: _what(arrived[address], last.args)
        for address in sent
        if sent[address] != arrived[address]
    }
    return Comparison("", len(sent), lost, (last, ours[-1], theirs[-1]))


def _what(arrived: tuple[int, str], last: DmaWrite) -> str:
    number = arrived[0]
    if not number and not last.zeros:
        return f"was never written at the destination; the device wrote it {last.number} times"
    if 0 < number < last.number:
        zeros = ", which were zeros" if last.zeros else ""
        return f"has what the device wrote as number {number} of {last.number}{zeros}"
    return "has other bytes at the destination"
