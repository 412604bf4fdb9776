"""What was found in QEMU: for each known deviation a scenario that shows it.

``NAME.json`` is the scenario of the deviation with that name (``Deviation.name``): small,
its defaults left out, without paths; ``vfio-multifd repro NAME`` runs it and checks that
what it shows is that finding and no other failure.
"""

import difflib
from collections.abc import Iterable
from pathlib import Path

from harness import scenario
from harness.check.deviations import Deviation
from harness.errors import UsageError
from harness.job.known import known_deviations
from harness.scenario import Scenario

FOLDER = Path(__file__).parent


def nearest(name: str, known: Iterable[str]) -> str:
    """``; did you mean X?`` for what of ``known`` is near to ``name``, or has its words; else where
    all are listed.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.75)
    words = set(name.lower().split("-")) - {""}
    if found := near or [each for each in names if words and words <= {*each.split("-")}][:3]:
        return f"; did you mean {' or '.join(found)}?"
    return "; docs/requirements/README.md has a page with the findings of each requirement"


def named(names: tuple[str, ...]) -> tuple[Deviation, ...]:
    """The known deviations called ``names``; of all if there are none.

    :raise UsageError: one is not known; names those that are
    """
    known = {deviation.name: deviation for deviation in known_deviations()}
    for name in names:
        if name not in known:
            raise UsageError(f"{name}: no such finding{nearest(name, known)}")
    return tuple(known[name] for name in names or known)


def scenario_of(deviation: Deviation) -> Scenario:
    """The scenario that shows it.

    :raise UsageError: it has none
    """
    return scenario.load(FOLDER / f"{deviation.name}.json")
