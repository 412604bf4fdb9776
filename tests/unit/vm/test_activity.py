"""Waiting without polling."""

import asyncio

import pytest

DEADLINE_S = 10.0


@pytest.mark.parametrize("value", [1, 0, False, "", ()])
async def test_what_is_there_is_given_at_once(activity, value):
    assert await activity.until(lambda: value, 0.0) == value


async def test_waiter_looks_again_when_something_happens(activity):
    seen: list[str] = []
    looks = []

    def look():
        looks.append(len(seen))
        return "both" if len(seen) == 2 else None

    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(activity.until(look, DEADLINE_S))
        for word in ("one", "two"):
            await asyncio.sleep(0)
            assert not waiting.done()
            seen.append(word)
            activity.notify()
            activity.notify()
            await asyncio.sleep(0)
    assert waiting.result() == "both"
    assert looks == [0, 1, 2], "one look at the start, then one for each time"


async def test_change_without_a_word_is_not_seen(activity):
    """There is no polling that would find it."""
    seen: list[int] = []
    asyncio.get_running_loop().call_later(0.01, seen.append, 1)
    with pytest.raises(TimeoutError):
        await activity.until(lambda: seen or None, 0.05)
    assert seen


async def test_every_waiter_waits_for_its_own(activity):
    happened: set[str] = set()
    async with asyncio.TaskGroup() as group:
        waiting = {
            word: group.create_task(activity.until(lambda w=word: w in happened or None, 10.0))
            for word in ("a", "b")
        }
        for word in ("b", "a"):
            await asyncio.sleep(0)
            happened.add(word)
            activity.notify()
            await waiting[word]
            assert waiting["a"].done() is (word == "a")


async def test_deadline_is_a_timeout_error(activity):
    with pytest.raises(TimeoutError):
        await activity.until(lambda: None, 0.01)


async def test_those_who_gave_up_are_forgotten(activity):
    with pytest.raises(TimeoutError):
        await activity.until(lambda: None, 0.01)
    assert not activity._waiters
    activity.notify()


async def test_error_in_the_look_is_the_waiters(activity):
    def broken():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await activity.until(broken, DEADLINE_S)


async def test_word_that_nobody_waits_for_is_no_error(activity):
    activity.notify()
    with pytest.raises(TimeoutError):
        await activity.until(lambda: None, 0.01)
