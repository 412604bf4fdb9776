"""LIF-5: a device that fails a read or a write fails the migration on both sides.

Asked when the scenario's device fails at a byte that is reached.  The side whose device it is
names it in its error, by its id, by its name in the trace, or by the name of its section
in the stream; the source's guest runs on with its devices RUNNING.
"""

from harness.check import interruption
from harness.check.assumptions import Assumption
from harness.check.rule import Findings, Rule
from harness.check.run import CheckedRun
from harness.check.verdict import Finding
from harness.history.records import Kind, Record, Side
from harness.model.expectation import Ending, Expectation
from harness.scenario import Scenario

found = Findings("LIF-5")
_FIRST_SLOT = 2
"""PCI slot of the scenario's first device; the others follow it (devices.emulated)."""


def asks(_scenario: Scenario, expectation: Expectation) -> str:
    return "" if expectation.ending is Ending.DEVICE_ERROR else "no device fails"


def judge(run: CheckedRun) -> Finding:
    failed = _failure(run)
    if failed is None:
        return found.unknown("no device was seen to fail a read or a write")
    side, device = failed.side, failed.device
    what = f"{device} failed a {failed.name} at byte {failed.args['offset']}"
    endings = run.endings
    for peer in (Side.SOURCE, Side.DESTINATION):
        end = endings.crash(peer)
        if end is not None and (end.args["signal"] or peer is Side.SOURCE):
            return found.violated(
                f"{what}, and the {peer}'s QEMU ended", failed, end, shape=f"{peer}-died"
            )
        hung = interruption.stuck(run, peer)
        if hung:
            return found.violated(
                f"{what}, and the {peer} did not end", failed, *hung, shape=f"{peer}-did-not-end"
            )
    for peer in (Side.DESTINATION, Side.SOURCE):
        told = endings.status(peer)
        if told == "completed":
            return found.violated(
                f"{what}, but the {peer} reports the migration completed",
                failed,
                endings.last_status(peer),
                shape=f"{peer}-completed-after-device-error",
            )
        has_exited = peer is Side.DESTINATION and endings.crash(peer) is not None
        if told != "failed" and not has_exited:
            return found.unknown(f"{what}; the {peer} says {told or 'nothing'}")
    said = [(record, text) for record, text in endings.texts(side) if text]
    if not said:
        return found.unknown(f"{what}, and the {side} did not say why it failed")
    names = _names(run, side, device)
    naming = [text for _, text in said if any(name in text for name in names)]
    if not naming:
        record, text = said[-1]
        return found.violated(f'{what}, and the {side}\'s error does not name it: "{text}"',
                              failed, record, shape="unnamed")  # fmt: skip
    silent = interruption.silent(run, Side.SOURCE)
    if silent:
        return found.violated(
            f"{what}, and the source does not answer",
            failed,
            *silent,
            shape="source-silent-after-device-error",
        )
    gone = interruption.lost(run)
    if gone is not None:
        return found.violated(f"{what}, and {gone[0]}", failed, *gone[1], shape="source-lost")
    if interruption.running(run, Side.SOURCE) is None:
        return found.unknown(f"{what}; whether the source runs on was not asked")
    return found.valid(f"{what}: both sides failed, and the source runs on", said=naming[-1])


def _failure(run: CheckedRun) -> Record | None:
    """The first call that a device failed."""
    calls = [
        record
        for side, name in ((Side.SOURCE, "read"), (Side.DESTINATION, "write"))
        for record in run.everywhere(Kind.DEVICE, side, name)
        if record.args["errno"]
    ]
    return min(calls, key=lambda record: record.t_ns, default=None)


def _names(run: CheckedRun, side: Side, device: str) -> set[str]:
    records = run.sequence(Kind.TRACE, side, device)
    slot = _FIRST_SLOT + [spec.id for spec in run.devices].index(device)
    section = f"0000:00:{slot:02x}.0/vfio"
    traced = {str(record.args["name"]) for record in records if "name" in record.args}
    return {device, section} | traced


RULE = Rule(
    id="LIF-5",
    title="A device that fails a read or a write fails the migration, and is named",
    asks=asks,
    judge=judge,
    needs=(Assumption.COMPLETE, Assumption.LAUNCHED),
    trusts=(Assumption.ENDINGS_KNOWN,),
)
