"""Each finding that shows in every run is shown again by its own scenario, as ``repro`` does.

What the other tests do with known deviations is what the findings do not: other moments, other
bytes.
"""

from pathlib import Path

import pytest

from harness.check.deviations import Deviation
from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.commands import repro
from harness.history.rundir import MANIFEST, load
from harness.job.known import explained, interrupted_by, known_deviations
from harness.job.settings import Settings

ALWAYS = [deviation for deviation in known_deviations() if not deviation.intermittent]


@pytest.mark.parametrize("deviation", ALWAYS, ids=lambda deviation: deviation.name)
def test_finding_is_shown_again(
    deviation: Deviation, results_dir: Path, qemu_src, qemu_dst, qemu_facts, pytestconfig
) -> None:
    if not deviation.affects(*(probe.facts for probe in qemu_facts)):
        pytest.skip(f"not of these builds: {deviation.versions}")
    told: list[str] = []
    settings = Settings(qemu=str(qemu_src), qemu_dst=str(qemu_dst))
    trace_events = pytestconfig.getoption("--trace-events")
    status = repro.repro([deviation.name], settings, results_dir, trace_events, told.append)
    assert status == repro.SHOWN, told
    for manifest in results_dir.glob(f"*/{MANIFEST}"):
        history = load(manifest.parent)
        verdict = judge(history)
        if interrupted_by(history, verdict):
            continue  # repro repeated it
        violated = verdict.with_outcome(Outcome.VIOLATED)
        assert set(violated) <= explained(history, verdict).keys(), "it shows something else, too"
