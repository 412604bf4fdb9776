"""ORD-8: A device that accepts only part of a write gets the rest.

It applies if the scenario cuts writes short.  The device's own ``write`` records are judged:
after a write of which it took less than was offered, the next one offers the rest, from
where the device left off (vfio_load_state_buffer_write() in hw/vfio/migration-multifd.c,
qemu_file_get_to_fd() in migration/qemu-file.c for the main channel).
"""

from harness.check.evidence import Evidence
from harness.check.rule import Rule, completed
from harness.check.verdict import Finding
from harness.history.device import Write
from harness.history.records import Record, Side
from harness.model.expectation import Expectation
from harness.scenario import Scenario

RULE = Rule(
    id="ORD-8",
    title="A device that accepts part of a write gets the rest",
)


@RULE.skips
def skip_reason(scenario: Scenario, expectation: Expectation) -> str:
    if not any(device.load.write_sizes for device in scenario.emulated):
        return "no destination device cuts a write short"
    return completed(scenario, expectation)


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    short = taken = 0
    for device in evidence.scenario.emulated:
        if not device.load.write_sizes:
            continue
        cut: Record[Write] | None = None
        position = 0
        for record in evidence.of(Write, Side.DESTINATION, device.id):
            args = record.args
            if args.offset != position:
                return RULE.violated(
                    f"{device.id}: a write at byte {args.offset}, but the device had taken "
                    f"{position} bytes",
                    cut,
                    record,
                    shape="write-at-wrong-place",
                )
            if cut is not None and args.asked != cut.args.asked - cut.args.got:
                rest = cut.args.asked - cut.args.got
                return RULE.violated(
                    f"{device.id}: the device left {rest} bytes of a write at byte "
                    f"{cut.args.offset}, and was offered {args.asked} next",
                    cut,
                    record,
                    shape="rest-not-offered",
                )
            position += args.got
            cut = record if args.got < args.asked and not args.errno else None
            short += cut is not None
        taken += position
        if cut is not None and evidence.endings.is_completed:
            return RULE.violated(
                f"{device.id}: the migration completed, but the device was never offered the "
                f"rest of its last write",
                cut,
                evidence.endings.last_status(Side.DESTINATION),
                shape="rest-not-offered",
            )
    numbers = {"short_writes": short, "bytes_taken": taken}
    if not short:
        return RULE.unknown("no write was cut short, or the writes were not recorded", **numbers)
    return RULE.valid("each short write was followed by the rest", **numbers)
