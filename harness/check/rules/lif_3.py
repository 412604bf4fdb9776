"""LIF-3: when one QEMU is killed, the other one ends its migration, or runs on.

A source that survives fails the migration and runs its guest on, with its devices RUNNING;
or it had completed, which with a return path needs the destination's word.  A destination
that survives fails, or runs the guest where it had all of it, or still listens where nobody
had come to it.
"""

from harness.action_plan import Kill, Target
from harness.check import interruption
from harness.check.assumptions import Assumption
from harness.check.rule import Findings, Rule
from harness.check.run import CheckedRun
from harness.check.verdict import Finding
from harness.history.records import Record, Side

found = Findings("LIF-3")


def asked_by(run: CheckedRun) -> str:
    is_planned = any(isinstance(action, Kill) for action in run.scenario.actions)
    return "" if is_planned else "no QEMU was killed"


def judge(run: CheckedRun) -> Finding:
    killed = {
        action.target: record
        for action, record in interruption.done(run)
        if isinstance(action, Kill)
    }
    if not killed:
        return found.unknown("the moment of the kill did not come")
    if len(killed) > 1:
        return found.unknown("both QEMUs were killed: nobody is left to judge")
    ((target, kill),) = killed.items()
    survivor = Side.DESTINATION if target is Target.SOURCE else Side.SOURCE
    end = run.endings.crash(survivor)
    if end is not None and (end.args["signal"] or survivor is Side.SOURCE):
        signal = end.args["signal"]
        how = f"of signal {signal}" if signal else f"with status {end.args['status']}"
        said = [record for record, _ in run.endings.texts(survivor)][-1:]
        return found.violated(
            f"the {target} was killed, and the {survivor}'s QEMU died {how}",
            kill,
            *said,
            end,
            shape=f"{survivor}-died-after-kill",
        )
    return _source(run, kill) if survivor is Side.SOURCE else _destination(run, kill, end)


def _source(run: CheckedRun, kill: Record) -> Finding:
    endings = run.endings
    at = interruption.status_at(run, Side.SOURCE, kill.t_ns)
    told, end = interruption.told(run, Side.SOURCE), endings.last_status(Side.SOURCE)
    if told == "completed":
        arrived = endings.status(Side.DESTINATION) == "completed"
        if run.scenario.return_path and not arrived:
            return found.violated(
                "the destination was killed before it had the guest, but the source completed",
                kill,
                end,
                shape="source-completed-after-kill",
            )
        return found.valid("the source had completed", at=at)
    if told not in ("failed", "cancelled"):
        hung = interruption.stuck(run, Side.SOURCE)
        if not hung:
            return found.unknown(f"the source did not tell its end: {told or 'nothing'}", at=at)
        return found.violated(
            f"the destination was killed, and the source did not end: it says {told}",
            kill,
            *hung,
            shape="source-did-not-end",
        )
    silent = interruption.silent(run, Side.SOURCE)
    if silent:
        return found.violated(
            f"the destination was killed; the source says {told}, and does not answer",
            kill,
            *silent,
            shape="source-silent",
        )
    gone = interruption.lost(run)
    if gone is not None:
        return found.violated(
            f"the destination was killed, and {gone[0]}", kill, end, *gone[1], shape="source-lost"
        )
    if interruption.running(run, Side.SOURCE) is None:
        return found.unknown("whether the source runs on was not asked", at=at)
    return found.valid(f"the source {told} the migration and runs on", at=at)


def _destination(run: CheckedRun, kill: Record, exited: Record | None) -> Finding:
    endings = run.endings
    at = interruption.status_at(run, Side.SOURCE, kill.t_ns)
    told, end = interruption.told(run, Side.DESTINATION), endings.last_status(Side.DESTINATION)
    hung = interruption.stuck(run, Side.DESTINATION)
    if told == "completed":
        wrong = interruption.damaged(run)
        if wrong is None:
            return found.valid("the destination had all of the guest, and runs it", at=at)
        if not wrong[1]:
            return found.unknown(wrong[0], at=at)
        return found.violated(
            f"the source was killed, and the destination completed, but {wrong[0]}",
            kill,
            end,
            *wrong[1],
            shape="bytes-differ",
        )
    is_answering = all(record.args.get("main_loop_alive", True) for record in hung)
    if told in ("", "setup") and hung and is_answering:
        return found.valid("nobody had come to the destination: it still listens", at=at)
    if hung:
        still = "" if is_answering else ", and its main loop stands still"
        return found.violated(
            f"the source was killed, and the destination did not end: it says {told}{still}",
            kill,
            *hung,
            shape="destination-did-not-end" if is_answering else "main-loop-blocked-after-kill",
        )
    if exited is not None:
        return found.valid("the destination failed and exited", at=at)
    if told != "failed":
        return found.unknown(f"the destination did not tell its end: {told or 'nothing'}", at=at)
    silent = interruption.silent(run, Side.DESTINATION)
    if silent:
        return found.violated(
            "the source was killed; the destination failed, and does not answer",
            kill,
            *silent,
            shape="destination-silent",
        )
    if interruption.running(run, Side.DESTINATION) is None:
        return found.unknown("whether the failed destination answers was not asked", at=at)
    return found.valid("the destination failed, and answers", at=at)


RULE = Rule(
    id="LIF-3",
    title="When one QEMU is killed, the other ends its migration or runs on",
    asks=lambda _scenario, _expectation: "",
    judge=judge,
    needs=(Assumption.COMPLETE, Assumption.LAUNCHED),
    trusts=(Assumption.ENDINGS_KNOWN,),
    asked_by=asked_by,
)
