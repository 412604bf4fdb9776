"""STA-1: vfio.transferred of query-migrate equals the bytes of device state that were observed.

QEMU counts what it queues (vfio_mig_add_bytes_transferred()): on the main channel the
bytes of each block, without its header and without the configuration; over multifd each
packet with its 12-byte header, the configuration's included.  The counter starts at 0
with each migration (migrate_init() in migration/migration.c).  It is read from the last
answer of the source with the status ``completed``.

A relay sees each packet's size; for kernel devices only a relay does.  Without a relay the
configuration's size is not known: it lies between 16 and 8192 bytes (CONFIG_LEAST, CONFIG_MOST:
its two 64-bit marks; a PCI function's config space of 4 KiB and some registers of QEMU's).
"""

from harness.check import serial_ports
from harness.check.assumptions import Assumption, check
from harness.check.evidence import SAVE_BLOCK, Evidence
from harness.check.packet_count import main_bytes
from harness.check.rule import Rule, completed
from harness.check.verdict import Finding
from harness.history.device import Sent
from harness.history.records import Event, Record, Side
from harness.history.wire import PacketIn
from harness.model.expectation import TransferPath

RULE = Rule(
    id="STA-1",
    title="vfio.transferred equals the bytes of device state that were observed",
    skip_reason=completed,
    needs=(Assumption.COMPLETE, Assumption.LAUNCHED, Assumption.SOURCE_TRACE),
)
HEADER = 12
CONFIG_LEAST, CONFIG_MOST = 16, 8192


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    answer = _answer(evidence)
    if answer is None:
        return RULE.unknown("the source did not answer query-migrate after it had completed")
    if (
        evidence.endings.deadline is not None
        and evidence.endings.status(Side.SOURCE) != "completed"
    ):
        return RULE.unknown("the source completed after the deadline: not all of it was observed")
    transferred = answer.args["value"].get("vfio", {}).get("transferred")
    if transferred is None:
        return RULE.violated(
            "the source's statistics have no vfio.transferred", answer, shape="not-counted"
        )
    broken = check(evidence)
    over_multifd = [d for d in evidence.expectation.devices if d.path is TransferPath.MULTIFD]
    if over_multifd and evidence.of(PacketIn):
        return _against_wire(evidence, answer, transferred)
    if over_multifd and (reason := broken.get(Assumption.DESTINATION_TRACE)):
        return RULE.unknown(reason, transferred=transferred)
    seen, proof = 0, list[Record]()
    for device in evidence.expectation.devices:
        main = main_bytes(evidence, device.id)
        if device.path is TransferPath.MAIN:
            seen += main
            proof += evidence.trace(Side.SOURCE, SAVE_BLOCK, device.id)[-1:]
            continue
        sent = evidence.of(Sent, Side.SOURCE, device.id)
        if not sent:
            how = (
                ""
                if serial_ports.is_open(evidence, device.id)
                else ": only a relay sees it (relay: true)"
            )
            return RULE.unknown(f"what {device.id} gave is not known{how}", transferred=transferred)
        packets = len(evidence.reception(device.id).incoming)
        if not packets:
            return RULE.unknown(f"{device.id}: no packet arrived", transferred=transferred)
        seen += sent[-1].args.bytes + HEADER * packets  # what the main channel had is in it
        proof += sent[-1:]
    rest, configs = transferred - seen, len(over_multifd)
    numbers = {
        "transferred": transferred,
        "seen_without_configurations": seen,
        "configurations": rest,
    }
    is_right = CONFIG_LEAST * configs < rest < CONFIG_MOST * configs if configs else rest == 0
    if is_right:
        return RULE.valid("vfio.transferred is what was observed", **numbers)
    may_be = (
        f"{CONFIG_LEAST * configs + 1} to {CONFIG_MOST * configs - 1} bytes of configuration"
        if configs
        else "nothing"
    )
    return RULE.violated(
        f"vfio.transferred is {transferred}; {seen} bytes were observed, to which {may_be} may "
        "be added",
        answer,
        *proof[:3],
        shape="counted-more" if rest >= CONFIG_MOST * configs else "counted-less",
        **numbers,
    )


def _against_wire(evidence: Evidence, answer: Event, transferred: int) -> Finding:
    """The source's own packets, as they came to the relay, and the main channel's blocks."""
    packets = [r for d in evidence.multifd_devices for r in evidence.of(PacketIn, device=d)]
    over_wire = sum(record.args.size + HEADER for record in packets)
    main = sum(main_bytes(evidence, device.id) for device in evidence.scenario.devices)
    numbers = {"transferred": transferred, "on_the_wire": over_wire, "on_the_main_channel": main}
    if transferred == over_wire + main:
        return RULE.valid("vfio.transferred is what was observed", **numbers)
    return RULE.violated(
        f"vfio.transferred is {transferred}; {over_wire} bytes were observed on the wire and "
        f"{main} on the main channel",
        answer,
        *packets[-1:],
        shape="counted-more" if transferred > over_wire + main else "counted-less",
        **numbers,
    )


def _answer(evidence: Evidence) -> Event | None:
    """The source's last answer to query-migrate with the status completed."""
    answers = evidence.endings.commands(Side.SOURCE, "query-migrate", "return")
    done = [
        record
        for record in answers
        if isinstance(record.args["value"], dict)
        and record.args["value"].get("status") == "completed"
    ]
    return done[-1] if done else None
