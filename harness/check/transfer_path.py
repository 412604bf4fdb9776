"""How the path of the device state is judged: over multifd, over the main channel, or refused.

Shared by the rules about settings, which differ only in the scenarios to which they apply.  Each
path has trace events that the other never writes (vfio_save_complete_precopy() and
vfio_multifd_save_complete_precopy_thread() return at once on the other's path; the load
thread is started on the multifd path only).
"""

from harness.check import set_up
from harness.check.assumptions import Assumption
from harness.check.evidence import (
    INCOMING,
    SAVE_MAIN_START,
    SAVE_SETUP,
    SAVE_THREAD_START,
    THREAD_START,
    Evidence,
)
from harness.check.rule import Rule
from harness.check.verdict import Finding
from harness.history.records import Record, Side
from harness.model.expectation import UNSUPPORTED, Ending, Expectation, TransferPath
from harness.scenario import Scenario

_MULTIFD = (
    (Side.SOURCE, SAVE_THREAD_START),
    (Side.DESTINATION, THREAD_START),
    (Side.DESTINATION, INCOMING),
)
_MAIN = ((Side.SOURCE, SAVE_MAIN_START),)


def rule(requirement: str, title: str, about: str) -> Rule:
    """The rule of a requirement about the path."""
    made = Rule(
        id=requirement,
        title=title,
        about=about,
        skip_reason=gets_there,
        needs=(
            Assumption.COMPLETE,
            Assumption.LAUNCHED,
            Assumption.SOURCE_TRACE,
            Assumption.DESTINATION_TRACE,
        ),
        trusts=(Assumption.ENDINGS_KNOWN,),
    )

    @made.judges
    def judged(evidence: Evidence) -> Finding:
        return judge_path(evidence, made)

    return made


def gets_there(_scenario: Scenario, expectation: Expectation) -> str:
    """Why the path does not matter; "" if the migration must complete, or must be refused because
    of it.
    """
    if expectation.ending is Ending.COMPLETED or expectation.reasons == (UNSUPPORTED,):
        return ""
    if expectation.ending is Ending.REFUSED_AT_SETUP:
        return f"it must be refused for another reason: {expectation.reason}"
    return f"the devices do not get that far: {expectation.ending}"


def judge_path(evidence: Evidence, rule: Rule) -> Finding:
    """What happened against what the settings ask for."""
    if evidence.expectation.ending is Ending.COMPLETED:
        return _travelled(evidence, rule)
    return _refused(evidence, rule)


def _travelled(evidence: Evidence, rule: Rule) -> Finding:
    if not evidence.endings.is_completed:
        words = [text for _, text in evidence.endings.texts(None) if text]
        why = f": {words[-1]}" if words else ""
        return rule.unknown(f"the migration did not complete{why}")
    paths: dict[str, str] = {}
    for device in evidence.expectation.devices:
        over = {
            TransferPath.MULTIFD: _first(evidence, device.id, _MULTIFD),
            TransferPath.MAIN: _first(evidence, device.id, _MAIN),
        }
        wrong = TransferPath.MAIN if device.path is TransferPath.MULTIFD else TransferPath.MULTIFD
        if over[wrong] is not None:
            return rule.violated(
                f"{device.id}: its state must go over {_named(device.path)}, but it went over "
                f"{_named(wrong)}",
                over[wrong],
                evidence.endings.last_status(Side.DESTINATION),
                shape=f"went-over-{wrong}",
            )
        if over[device.path] is None:
            return rule.unknown(f"{device.id}: how its state travelled is not known")
        paths[device.id] = device.path
    return rule.valid("each device's state took the path that the settings ask for", paths=paths)


def _refused(evidence: Evidence, rule: Rule) -> Finding:
    expected, endings = evidence.expectation, evidence.endings
    for side in (Side.DESTINATION, Side.SOURCE):
        if endings.status(side) == "completed":
            return rule.violated(
                f"the migration must be refused ({expected.reason}), but the {side} completed",
                endings.last_status(side),
                shape="accepted",
            )
    for device in evidence.scenario.devices:
        sent = _first(evidence, device.id, (*_MULTIFD, *_MAIN))
        if sent is not None:
            return rule.violated(
                f"{device.id}: the migration must be refused before any state is sent, "
                "but it was sent",
                sent,
                shape="state-sent",
            )
    if (said := set_up.reason(evidence)) is not None:
        record, text = said
        return rule.valid("the migration was refused with its reason", said=text, by=record.side)
    others = [text for record, text in endings.texts(None) if text and record.kind == "qmp"]
    if others:
        return rule.unknown(
            f'the migration was refused, but with an error about something else: "{others[-1]}"'
        )
    return rule.unknown("there is no record of why the migration was refused")


def _first(evidence: Evidence, device: str, events: tuple[tuple[Side, str], ...]) -> Record | None:
    """The first record of any of the trace ``events`` about ``device``."""
    seen = [record for side, name in events for record in evidence.trace(side, name, device)[:1]]
    return seen[0] if seen else None


def was_anything_sent(evidence: Evidence, device: str) -> Record | None:
    """The first trace record of ``device``'s part in a migration, its set-up included."""
    return _first(evidence, device, ((Side.SOURCE, SAVE_SETUP), *_MULTIFD, *_MAIN))


def _named(path: TransferPath) -> str:
    return "multifd" if path is TransferPath.MULTIFD else "the main channel"
