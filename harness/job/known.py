"""The known deviations of QEMU, and which of them a run shows."""

import functools
from pathlib import Path

from harness.check import deviations
from harness.check.deviations import Deviation
from harness.check.verdict import Outcome, Verdict
from harness.history.rundir import History


@functools.cache
def known_deviations() -> tuple[Deviation, ...]:
    """The project's own list."""
    path = Path(deviations.__file__).with_name("known_deviations.toml")
    return deviations.parse(path.read_text(), str(path))


def interrupted_by(history: History, verdict: Verdict) -> Deviation | None:
    """The known deviation that every violation of ``verdict`` comes from, if there is one."""
    if verdict.overall is not Outcome.VIOLATED:
        return None
    builds = history.manifest.source, history.manifest.destination
    return deviations.interrupted_by(known_deviations(), verdict, *builds)


def explained(history: History, verdict: Verdict) -> dict[str, Deviation]:
    """The known deviation behind each violation of ``verdict`` that has one, by requirement."""
    if verdict.overall is not Outcome.VIOLATED:
        return {}
    builds = history.manifest.source, history.manifest.destination
    return deviations.explain(known_deviations(), verdict, *builds)
