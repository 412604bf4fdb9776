"""How long a process is waited for, on a quiet machine and on a busy one."""

from types import SimpleNamespace

import pytest

from harness.vm import patience as module
from harness.vm.patience import ANSWER_S, MOST_S, is_used_up
from harness.vm.threads import Thread

MAIN, MONITOR, OTHER = 7, 8, 9
NAMES = {MAIN: "main", MONITOR: "IO mon_iothread", OTHER: "mig/src/main"}
SLEEPS, RUNS, STARVES = "sleeps", "runs", "waits for a processor"
S = 1_000_000_000


@pytest.fixture
def wait(monkeypatch):
    """Waits for a process whose threads do this all the time; seconds, and whether it was used up.

    :param late_s: how much later than it should the harness itself runs
    """

    async def waited(late_s=0.0, **does):
        now = 0.0

        async def sleep(seconds):
            nonlocal now
            now += seconds + late_s

        def threads(_pid):
            if not does:
                raise FileNotFoundError
            found = {}
            for tid, name in NAMES.items():
                what = does.get({MAIN: "main", MONITOR: "monitor"}.get(tid, "other"), SLEEPS)
                used = int(now * S) if what is RUNS else 0
                state = "S" if what is SLEEPS else "R"
                found[tid] = Thread(name, state, used, 1 + used // S)
            return found

        monkeypatch.setattr(module, "asyncio", SimpleNamespace(sleep=sleep))
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
        monkeypatch.setattr(module, "threads_of", threads)
        return await is_used_up(MAIN), pytest.approx(now, abs=0.3)

    return waited


async def test_process_in_which_nothing_runs_will_not_answer(wait):
    assert await wait(main=SLEEPS) == (True, ANSWER_S / 2)


async def test_process_that_works_gets_longer(wait):
    assert await wait(other=RUNS) == (True, ANSWER_S)
    assert await wait(main=RUNS) == (True, ANSWER_S), "it loops, and does not answer"


@pytest.mark.parametrize("who", ["main", "monitor"])
async def test_thread_that_gets_no_processor_is_not_blamed(wait, who):
    assert await wait(**{who: STARVES}) == (False, MOST_S)


async def test_other_threads_may_starve(wait):
    assert await wait(other=STARVES) == (True, ANSWER_S)


async def test_time_in_which_the_harness_did_not_run_does_not_count(wait):
    used_up, waited_s = await wait(late_s=0.2, main=SLEEPS)
    assert (used_up, waited_s) == (False, MOST_S)


async def test_process_that_cannot_be_seen_gets_its_time(wait):
    assert await wait() == (True, ANSWER_S)
