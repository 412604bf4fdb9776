"""A run that is not over, as it would be judged."""

from pathlib import Path

import pytest

from harness.errors import HistoryError
from harness.history import Kind, Record, Side
from harness.history.process import Exited, Hung
from harness.history.rundir import History
from harness.history.session import Deadline, Faults
from harness.job.assess import assess
from harness.session.assessment import Assessment
from tests.unit.saved_runs import load_compressed, valid_run, violated_run

DATA = Path(__file__).parents[2] / "data"
HANGS = (
    "lif-1-the-main-thread-waits-for-the-load-threads",
    "lif-2-a-channel-ends-before-its-sync",
    "lif-2-one-channel-ends-between-packets",
    "lif-2-the-main-thread-waits-for-the-load-threads",
    "lif-4-cancel-during-set-up",
    "lif-4-cancel-during-the-final-ram-sync",
    "ref-1-the-main-thread-waits-for-the-load-threads",
    "ref-10-the-main-thread-waits-for-the-load-threads",
    "ref-12-the-main-thread-waits-for-the-load-threads",
    "ref-2-the-main-thread-waits-for-the-load-threads",
    "ref-3-the-main-thread-waits-for-the-load-threads",
    "ref-4-the-main-thread-waits-for-the-load-threads",
    "ref-5-the-main-thread-waits-for-the-load-threads",
    "ref-9-the-main-thread-waits-for-the-load-threads",
    "set-4-device-state-is-queued-during-the-final-ram-sync",
    "set-9-no-return-path",
)
"""Known deviations in which a QEMU does not come to an end."""


@pytest.mark.parametrize("name", HANGS)
def test_known_hang_is_known_before_the_run_is_over(name, tmp_path):
    """Without the ends of both QEMUs, what the devices hold, and the answers that came after."""
    history = load_compressed(DATA / "known" / name, tmp_path)
    deadline = next(r for r in history.records if isinstance(r.args, Deadline))
    seen = [
        record
        for record in history.records
        if record.t_ns <= deadline.t_ns or isinstance(record.args, Hung | Faults)
    ]
    assert assess(History(history.scenario, history.manifest, seen)) is Assessment.KNOWN


def test_violation_that_no_deviation_describes_is_new():
    assert assess(violated_run()) is Assessment.NEW


def test_one_that_is_known_does_not_hide_one_that_is_new(tmp_path):
    history = load_compressed(DATA / "known" / "ref-7-data-after-the-configuration", tmp_path)
    assert assess(history) is Assessment.KNOWN
    signal = Exited(status=-1, signal=11, asked=False)
    crash = Record.of(history.records[-1].t_ns, Side.SOURCE, signal)
    both = History(history.scenario, history.manifest, [*history.records, crash])
    assert assess(both) is Assessment.NEW


def test_run_in_which_nothing_is_violated_is_right():
    """Also if it has only begun: what is not there cannot be judged."""
    whole = valid_run()
    assert assess(whole) is Assessment.RIGHT
    for count in (0, 1, len(whole.records) // 2):
        begun = History(whole.scenario, whole.manifest, whole.records[:count])
        assert assess(begun) is Assessment.RIGHT


def test_record_that_does_not_keep_its_promise_is_an_error():
    run = valid_run()
    bad = Record(1, Side.SOURCE, Kind.QMP, "MIGRATION", {})
    with pytest.raises(HistoryError, match="status"):
        assess(History(run.scenario, run.manifest, [*run.records, bad]))
