"""What was pending in pre-copy, and what was allowed, as either build traces it."""

from harness.check import convergence
from harness.check.convergence import ALLOWED, ESTIMATE, EXACT, QUERY
from harness.check.evidence import Evidence, Seen
from harness.history.session import NotConverged
from harness.model.expectation import expect
from tests.unit.check.story import FACTS, SRC, Story, history, scenario

MS = 1_000_000


def standing(story: Story):
    story.at += MS
    story.put("harness", NotConverged(deadline_s=3.0))
    run = history(scenario(), story.records)
    seen = Evidence(Seen(run), expect(run.scenario, FACTS, FACTS))
    over = convergence.not_converged(seen)
    assert over is not None
    return convergence.standing(seen, over)


def test_exact_number_counts_rather_than_an_estimate():
    story = Story()
    story.trace(SRC, ALLOWED, size=10)
    story.trace(SRC, EXACT, size=100, pre=100, post=0)
    story.trace(SRC, ESTIMATE, size=0, pre=0, post=0)
    assert standing(story)[:2] == (100, 10)


def test_estimate_is_the_least_that_is_pending():
    story = Story()
    story.trace(SRC, ALLOWED, size=10)
    story.trace(SRC, ESTIMATE, size=70, pre=70, post=0)
    assert standing(story)[:2] == (70, 10)


def test_later_builds_have_one_event_for_both():
    story = Story()
    story.trace(SRC, ALLOWED, size=10)
    for exact, total in ((1, 100), (0, 5)):
        story.trace(SRC, QUERY, exact=exact, final=0, precopy=0, stopcopy=total, total=total)
    assert standing(story)[:2] == (100, 10)


def test_what_came_after_the_end_of_its_time_does_not_count():
    story = Story()
    story.trace(SRC, ALLOWED, size=10)
    story.trace(SRC, EXACT, size=100, pre=100, post=0)
    late = story.at + 10**9
    story.trace(SRC, EXACT, t=late, size=1, pre=1, post=0)
    story.trace(SRC, ALLOWED, t=late, size=1000)
    assert standing(story)[:2] == (100, 10)


def test_nothing_traced_tells_nothing():
    assert standing(Story()) is None


def test_words_have_both_numbers():
    story = Story()
    story.trace(SRC, ALLOWED, size=10)
    story.trace(SRC, EXACT, size=100, pre=100, post=0)
    assert standing(story).words == "100 bytes pending, 10 allowed"
