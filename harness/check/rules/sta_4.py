"""STA-4: During pre-copy ``query-migrate`` agrees with what the devices reported and what was sent.

Each answer of the source that says ``active`` is judged, until its status is another one.
``vfio.transferred`` is what vfio_save_block() in hw/vfio/migration.c has traced by then.  What QEMU
says of a device in ``vfio_state_pending*`` is what the device has left: its state less what was
read of it.

Where the build reports a ``remaining`` of all (QEMU 11.1), it is a total that the source has traced
(``qemu_savevm_query_pending``), the devices' shares included; from the second pass on,
``expected-downtime`` is such a total divided by avail-switchover-bandwidth.  Older builds count RAM
only in both: there neither is judged.

This could be wrong in two ways.  VIOLATED against a right QEMU: an answer is older than its record,
and a thread may be held up between a count and its trace.  So whatever was current from two traces
before the command to one after the answer is right.  VALID for what was not seen: at least one
answer must be later than a block.  Only emulated devices that report the truth are judged.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from harness.check.assumptions import Assumption
from harness.check.evidence import SAVE_BLOCK, Evidence
from harness.check.rule import Rule
from harness.check.verdict import Finding
from harness.history.device import Read, Reset
from harness.history.records import Event, Side
from harness.model.expectation import Expectation
from harness.scenario import EmulatedDevice, Scenario

RULE = Rule(
    id="STA-4",
    title="Statistics of pre-copy agree with what devices reported and what was sent",
    needs=(Assumption.COMPLETE, Assumption.LAUNCHED, Assumption.SOURCE_TRACE),
    trusts=(Assumption.ENDINGS_KNOWN,),
)
PENDING = ("vfio_state_pending", "vfio_state_pending_exact", "vfio_state_pending_estimate")
"""Of one device; the first is that of QEMU 11.0 on."""
TOTAL = "qemu_savevm_query_pending"
_QUERY = "query-migrate"
_BANDWIDTH = "avail-switchover-bandwidth"
_BEFORE = ("setup", "active")
_BEFORE_COMMAND = 2
"""Traces before a command that may still be current: see the page."""
_LEAST_PASS = 2
_HARMLESS = frozenset(
    {
        "id", "size", "seed", "bar_size", "vendor_id", "device_id", "subsystem_vendor_id",
        "subsystem_id", "vendor_capability", "p2p", "pre_copy", "precopy_initial_bytes",
        "precopy_dirty_bytes", "precopy_info_v2", "dma_logging", "iommu_tracking", "dma",
        "data_path", "save", "load", "multifd_transfer", "enable_migration", "properties",
    }
)  # fmt: skip
_SAVES = frozenset({"read_sizes", "read_delay_s", "error_at"})
"""What may be set of a device that reports what it has."""


class Sample(NamedTuple):
    """An answer of the source in pre-copy."""

    asked_ns: int
    answer: Event

    @property
    def value(self) -> dict[str, Any]:
        """What QEMU says."""
        found: dict[str, Any] = self.answer.args["value"]
        return found


@RULE.skips
def skip_reason(scenario: Scenario, _expectation: Expectation) -> str:
    return "" if _devices(scenario) else "no emulated device with pre-copy reports the truth"


@RULE.skips_run
def skip_reason_of(evidence: Evidence) -> str:
    return "" if samples(evidence) else "the source was not asked in its pre-copy"


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    found = samples(evidence)
    begun = evidence.endings.commands(Side.SOURCE, "migrate")
    for device in _devices(evidence.scenario):
        resets = evidence.of(Reset, Side.SOURCE, device.id)
        if not begun or any(reset.t_ns > begun[0].t_ns for reset in resets):
            return RULE.unknown(f"{device.id} was reset, or when it began to move is not known")
    if (wrong := _pending(evidence)) is not None:
        return wrong
    blocks = _blocks(evidence)
    later, numbers = 0, {"samples": len(found), "remaining": 0, "expected_downtime": 0}
    for sample in found:
        seen = [size for at, size in blocks if at < sample.asked_ns]
        if _judges_all(evidence.scenario):
            if (wrong := _transferred(sample, blocks)) is not None:
                return wrong
            later += bool(seen)
        for name, judges in (("remaining", _remaining), ("expected_downtime", _downtime)):
            judged = judges(evidence, sample)
            if isinstance(judged, Finding):
                return judged
            numbers[name] += judged
    if not later:
        return RULE.unknown("no answer was later than a block of state", **numbers)
    return RULE.valid("each answer agrees with what was reported and sent", **numbers)


def samples(evidence: Evidence) -> list[Sample]:
    """Answers to query-migrate while the source was in pre-copy, in order.

    QEMU answers the commands of a monitor one after the other.
    """
    over = min(
        (
            record.t_ns
            for record in evidence.qmp(Side.SOURCE, "MIGRATION")
            if record.args["status"] not in _BEFORE
        ),
        default=None,
    )
    asked = evidence.endings.commands(Side.SOURCE, _QUERY)
    answers = sorted(
        (
            record
            for name in ("return", "error")
            for record in evidence.endings.commands(Side.SOURCE, _QUERY, name)
        ),
        key=lambda record: record.t_ns,
    )
    return [
        Sample(command.t_ns, answer)
        for command, answer in zip(asked, answers, strict=False)
        if answer.name == "return"
        and answer.args["value"].get("status") == "active"
        and (over is None or answer.t_ns < over)
    ]


def _devices(scenario: Scenario) -> list[EmulatedDevice]:
    return [each for each in scenario.emulated if each.pre_copy and _is_honest(each)]


def _is_honest(device: EmulatedDevice) -> bool:
    """Whether all that is set of it leaves its sizes alone, as far as this rule knows."""
    plain = EmulatedDevice(id=device.id)
    return _set_in(device, plain) <= _HARMLESS and _set_in(device.save, plain.save) <= _SAVES


def _set_in(one: Any, plain: Any) -> set[str]:
    return {name for name in plain.__struct_fields__ if getattr(one, name) != getattr(plain, name)}


def _judges_all(scenario: Scenario) -> bool:
    """Whether each block of state that is traced is one of a device that is judged."""
    return len(_devices(scenario)) == len(scenario.devices)


def _blocks(evidence: Evidence) -> list[tuple[int, int]]:
    """When each block was traced, and its size."""
    return sorted(
        (record.t_ns, record.args["data_size"])
        for device in evidence.devices
        for record in evidence.trace(Side.SOURCE, SAVE_BLOCK, device.id)
    )


def _transferred(sample: Sample, blocks: list[tuple[int, int]]) -> Finding | None:
    said = sample.value.get("vfio", {}).get("transferred")
    before = [size for at, size in blocks if at < sample.asked_ns]
    until = [size for at, size in blocks if at <= sample.answer.t_ns]
    least, most = sum(before[:-1]), sum(size for _, size in blocks[: len(until) + 1])
    if said is not None and least <= said <= most:
        return None
    return RULE.violated(
        f"vfio.transferred was {said}, but {sum(before)} bytes had been saved"
        + (f", and not more than {most}" if said is not None and said > most else ""),
        sample.answer,
        shape="transferred-differs",
    )


def _left(evidence: Evidence, device: EmulatedDevice, at_ns: int) -> tuple[int, int, int]:
    """Bytes that the device had left, those of pre-copy among them, and the last that it gave."""
    given = [
        record.args.got
        for record in evidence.of(Read, Side.SOURCE, device.id)
        if record.t_ns < at_ns
    ]
    read = sum(given)
    last = given[-1] if given else 0
    return device.total_size - read, max(0, device.precopy_size - read), last


def _pending(evidence: Evidence) -> Finding | None:
    """A number of a device that is not what it had left, while its source was active."""
    until = max((sample.answer.t_ns for sample in samples(evidence)), default=0)
    for device in _devices(evidence.scenario):
        if not evidence.of(Read, Side.SOURCE, device.id):
            continue
        for name in PENDING:
            for record in evidence.trace(Side.SOURCE, name, device.id):
                if record.t_ns > until:
                    break
                wrong = _differs(evidence, device, record)
                if wrong:
                    return RULE.violated(
                        f"{device.id}: {wrong}",
                        *evidence.of(Read, Side.SOURCE, device.id)[:1],
                        record,
                        shape="pending-differs",
                    )
    return None


def _differs(evidence: Evidence, device: EmulatedDevice, record: Event) -> str:
    left, precopy, last = _left(evidence, device, record.t_ns)
    args = {name: size for name, size in record.args.items() if isinstance(size, int)}
    stop_copy = args.get("stopcopy_size")
    if stop_copy is not None and not left <= stop_copy <= left + last:
        return f"{stop_copy} bytes are pending, but it has {left} left"
    said = args.get("precopy_init_size", 0) + args.get("precopy_dirty_size", 0)
    if not precopy <= said <= precopy + last:
        return f"{said} bytes of pre-copy are pending, but it has {precopy} left"
    return ""


def _remaining(evidence: Evidence, sample: Sample) -> Finding | int:
    """Of the whole machine, as from 11.1 on; whether it could be judged."""
    said = sample.value.get("remaining")
    around = list(_around(evidence.trace(Side.SOURCE, TOTAL), sample))
    if said is None or not around:
        return 0
    if said not in [record.args["total"] for record in around]:
        return RULE.violated(
            f"remaining was {said}, but the source had counted {around[0].args['total']}",
            sample.answer,
            *around[:2],
            shape="remaining-differs",
        )
    for record in around:
        left = sum(
            _left(evidence, device, record.t_ns)[0]
            for device in _devices(evidence.scenario)
            if evidence.of(Read, Side.SOURCE, device.id)
        )
        if record.args["total"] < left and record.t_ns < sample.answer.t_ns:
            return RULE.violated(
                f"remaining counts {record.args['total']} bytes, but the devices have {left} left",
                sample.answer,
                record,
                shape="remaining-without-devices",
            )
    return 1


def _downtime(evidence: Evidence, sample: Sample) -> Finding | int:
    """Of the whole machine, as from 11.1 on; whether it could be judged."""
    bandwidth = evidence.scenario.parameters.get(_BANDWIDTH)
    passes = sample.value.get("ram", {}).get("dirty-sync-count", 0)
    said = sample.value.get("expected-downtime")
    changes = evidence.endings.commands(Side.SOURCE, "migrate-set-parameters")
    is_changed = any(
        before.t_ns < sample.answer.t_ns
        for before in changes
        if evidence.qmp(Side.SOURCE, "MIGRATION")
        and before.t_ns > evidence.qmp(Side.SOURCE, "MIGRATION")[0].t_ns
    )
    exact = [r for r in evidence.trace(Side.SOURCE, TOTAL) if r.args.get("exact")]
    earlier = [record for record in exact if record.t_ns < sample.asked_ns]
    if (
        "remaining" not in sample.value
        or type(bandwidth) is not int
        or bandwidth < 1000  # QEMU counts in bytes per millisecond
        or passes < _LEAST_PASS
        or said is None
        or is_changed
        or len(earlier) < _BEFORE_COMMAND
    ):
        return 0
    around = list(_around(exact, sample))
    per_ms = bandwidth // 1000
    for record in around:
        total = record.args["total"]
        if total * 1000 // bandwidth - 1 <= said <= total // per_ms + 1:
            return 1
    return RULE.violated(
        f"expected-downtime was {said} ms, but {around[0].args['total']} bytes were pending at "
        f"{bandwidth} bytes/s",
        sample.answer,
        *around[:2],
        shape="expected-downtime-differs",
    )


def _around(records: Sequence[Event], sample: Sample) -> Iterator[Event]:
    """The records that may be what an answer is about."""
    before = [record for record in records if record.t_ns < sample.asked_ns]
    yield from before[-_BEFORE_COMMAND:]
    after = [record for record in records if record.t_ns >= sample.asked_ns]
    yield from (record for record in after if record.t_ns <= sample.answer.t_ns)
    yield from [record for record in after if record.t_ns > sample.answer.t_ns][:1]
