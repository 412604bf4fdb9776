"""What changed between two sets of runs, usually of two builds: verdicts and figures.

Runs are matched by the name of their scenario.  Several runs of one scenario on one side count
together, as their worst verdict.  Two single runs are compared even if their names differ.

A requirement that is violated on both sides, but in another way (``Finding.shape``), got worse, so
that an old violation does not hide a new one.  Figures do not get worse: a few runs cannot show
whether a difference is significant.  ``vfio-multifd measure`` can.
"""

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from harness.check.verdict import Outcome
from harness.errors import LOST, HistoryError
from harness.measure.measured import Measured
from harness.report.format import build_text
from harness.report.summary import Entry

_BUILDS = ("name", "qemu", "qemu_dst")


class State(enum.StrEnum):
    """The state of one requirement in all runs of one scenario: the first of these that applies."""

    VIOLATED = "violated"
    OTHERWISE = "violated in another way"
    """Only for ``after``, if it was violated before."""
    UNKNOWN = "unknown"
    VALID = "valid"
    KNOWN = "known deviation"
    NOT_APPLICABLE = "not applicable"
    NOT_RUN = "not run"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One requirement whose state has changed.

    :ivar sentence: what was seen after, in the first run with that state
    """

    requirement: str
    scenario: str
    before: State
    after: State
    sentence: str

    @property
    def exit_status(self) -> int:
        """1 violated, and not so before; 2 valid before and not judged now; else 0."""
        if self.after in (State.VIOLATED, State.OTHERWISE):
            return 1
        is_open = self.after in (State.UNKNOWN, State.NOT_APPLICABLE, State.NOT_RUN)
        return 2 if self.before is State.VALID and is_open else 0

    @property
    def is_better(self) -> bool:
        """Whether it was violated and is valid now."""
        return self.before is State.VIOLATED and self.after is State.VALID


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """One scenario that was run on both sides.

    :ivar settings: fields of the scenario that differ, except the builds: ``channels: 4, then 8``
    """

    scenario: str
    settings: tuple[str, ...]
    before: tuple[Measured, ...]
    after: tuple[Measured, ...]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """A complete comparison.

    :ivar builds_before: the QEMUs, as text; also ``builds_after``
    :ivar only_before: names of scenarios that were run only before; also ``only_after``
    :ivar lost: errors of lost runs
    """

    builds_before: tuple[str, ...]
    builds_after: tuple[str, ...]
    changes: tuple[Change, ...]
    unchanged: int
    """How many requirements of scenarios have not changed."""
    pairs: tuple[Pair, ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]
    lost: tuple[str, ...]

    @property
    def exit_status(self) -> int:
        """0 no verdict got worse; 1 a requirement is violated that was not, or in another way; 2 a
        requirement that was valid is not judged now; 3 a run was lost, or nothing can be compared.
        """
        if self.lost or not self.pairs:
            return LOST
        statuses = {change.exit_status for change in self.changes}
        return next((status for status in (1, 2) if status in statuses), 0)


@dataclass(frozen=True, slots=True)
class _Group:
    """The runs of one scenario on one side."""

    name: str
    entries: tuple[Entry, ...]

    def states(self) -> dict[str, tuple[State, str]]:
        """By requirement: its state, and the sentence of the first run with that state."""
        found: dict[str, tuple[State, str]] = {}
        order = list(State)
        for entry in self.entries:
            for finding in entry.verdict.findings if entry.verdict else ():
                state = State(finding.outcome) if entry.known is None else State.KNOWN
                seen = found.get(finding.requirement)
                if seen is None or order.index(state) < order.index(seen[0]):
                    found[finding.requirement] = (state, finding.sentence)
        return found

    def violations(self, requirement: str) -> dict[str, str]:
        """The shapes of its violations, each with the sentence of the first run."""
        found: dict[str, str] = {}
        for entry in self.entries:
            finding = entry.verdict.finding(requirement) if entry.verdict else None
            if finding is not None and finding.outcome is Outcome.VIOLATED and not entry.known:
                found.setdefault(finding.shape, finding.sentence)
        return found

    def why_not(self, requirement: str) -> str:
        """Why it is not applicable to the first run."""
        verdict = self.entries[0].verdict if self.entries else None
        return verdict.not_applicable.get(requirement, "") if verdict else ""


def compare(before: Sequence[Entry], after: Sequence[Entry]) -> Comparison:
    """What changed from ``before`` to ``after``."""
    old, new = _groups(before), _groups(after)
    if len(before) == len(after) == 1 and old and new and old.keys() != new.keys():
        ((name, group),) = old.items()
        ((now, group_now),) = new.items()
        name = f"{name}, then {now}"
        old, new = {name: group}, {name: group_now}
    names = [name for name in old if name in new]
    lost = [entry for entry in (*before, *after) if entry.verdict is None and not entry.left_out]
    changes: list[Change] = []
    unchanged = 0
    for name in dict.fromkeys((*old, *new)):
        changed, same = _changes(name, old.get(name), new.get(name))
        changes += changed
        unchanged += same
    return Comparison(
        builds_before=_builds(before),
        builds_after=_builds(after),
        changes=tuple(changes),
        unchanged=unchanged,
        pairs=tuple(_pair(name, old[name], new[name]) for name in names),
        only_before=tuple(name for name in old if name not in new),
        only_after=tuple(name for name in new if name not in old),
        lost=tuple(dict.fromkeys(entry.error for entry in lost)),
    )


def require_common(before: Sequence[str], after: Sequence[str]) -> None:
    """Check that there is something to compare: two single runs, or a scenario on both sides.

    :param before: names of the scenarios of all runs; also ``after``

    :raise HistoryError: if there is nothing to compare
    """
    if not set(before) & set(after) and (len(before), len(after)) != (1, 1):
        old, new = (", ".join(dict.fromkeys(names)) for names in (before, after))
        raise HistoryError(
            f"nothing to compare: no scenario is on both sides; before: {old}; after: {new}"
        )


def _builds(entries: Iterable[Entry]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for entry in entries:
        if (manifest := entry.manifest) is not None:
            source, destination = build_text(manifest.source), build_text(manifest.destination)
            found[source if source == destination else f"{source}, to {destination}"] = None
    return tuple(found)


def _groups(entries: Iterable[Entry]) -> dict[str, _Group]:
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.verdict is not None:
            found.setdefault(entry.name, []).append(entry)
    return {name: _Group(name, tuple(runs)) for name, runs in found.items()}


def _changes(name: str, old: _Group | None, new: _Group | None) -> tuple[list[Change], int]:
    """The changes of one scenario, and how many requirements have not changed."""
    before, after = old.states() if old else {}, new.states() if new else {}
    changes: list[Change] = []
    for requirement in dict.fromkeys((*before, *after)):
        was, _ = before.get(requirement, (State.NOT_APPLICABLE if old else State.NOT_RUN, ""))
        state, sentence = after.get(
            requirement, (State.NOT_APPLICABLE if new else State.NOT_RUN, "")
        )
        if was is state is State.VIOLATED and old and new:
            before_too = old.violations(requirement)
            fresh = [
                s for shape, s in new.violations(requirement).items() if shape not in before_too
            ]
            if fresh:
                state, sentence = State.OTHERWISE, fresh[0]
        if was is not state:
            reason = sentence or (new.why_not(requirement) if new else "")
            changes.append(
                Change(
                    requirement=requirement, scenario=name, before=was, after=state, sentence=reason
                )
            )
    return changes, len(before.keys() | after.keys()) - len(changes)


def _pair(name: str, old: _Group, new: _Group) -> Pair:
    return Pair(
        scenario=name,
        settings=tuple(_settings(old.entries[0], new.entries[0])),
        before=tuple(entry.measured for entry in old.entries if entry.measured is not None),
        after=tuple(entry.measured for entry in new.entries if entry.measured is not None),
    )


def _settings(old: Entry, new: Entry) -> Iterable[str]:
    """The fields of the scenario and of its devices that differ."""
    if old.scenario is None or new.scenario is None:
        return
    yield from _differ("", msgspec.to_builtins(old.scenario), msgspec.to_builtins(new.scenario))


def _differ(prefix: str, old: dict[str, Any], new: dict[str, Any]) -> Iterable[str]:
    now: Any
    for key, was in old.items():
        now = new.get(key)
        if was == now or (not prefix and key in _BUILDS):
            continue
        if key == "devices" and len(was) == len(now):
            for one, other in zip(was, now, strict=True):
                yield from _differ(f"{one['id']}.", one, other)
        elif key == "devices":
            yield f"devices: {len(was)}, then {len(now)}"
        elif isinstance(was, dict) and isinstance(now, dict) and was.keys() == now.keys():
            yield from _differ(f"{prefix}{key}.", was, now)
        else:
            yield f"{prefix}{key}: {_short(was)}, then {_short(now)}"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
