"""Hellos are rewritten."""

from dataclasses import replace
from uuid import UUID

import pytest

from harness.proxy.events import Greet, Greeted
from harness.scenario import fault_plan as plan
from harness.scenario.fault_plan import Select
from harness.wire.packets import MultiFDInit
from tests.unit.proxy.playbook import arrived, deliver

HELLO = MultiFDInit(1, b"U" * 16, unused=b"unknown")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"channel_id": 2}, {"channel_id": 2}),
        ({"magic": 5, "version": 0}, {"magic": 5, "version": 0}),
        ({"uuid": UUID(int=7)}, {"uuid": bytes(15) + b"\7"}),
    ],
)
def test_hello_of_the_selected_channel_says_something_else(play, fields, expected) -> None:
    other = replace(HELLO, channel_id=0)
    book = play(plan.Hello(select=Select(channel=1), **fields))
    book >> Greeted(0, other) << Greet(0, other)
    book >> Greeted(1, HELLO) << Greet(1, replace(HELLO, **expected))
    assert book.handler.fired == 1
    book >> arrived(0, 1) << deliver(0, 1)


def test_every_channel_is_selected_where_none_is_named(play) -> None:
    book = play(plan.Hello(version=9))
    for channel in (0, 1):
        hello = replace(HELLO, channel_id=channel)
        book >> Greeted(channel, hello) << Greet(channel, replace(hello, version=9))
    assert book.notes == ["rewrite the hello of every channel: version = 9"] * 2


def test_field_that_has_the_value_already_is_not_fired(play) -> None:
    book = play(plan.Hello(channel_id=1))
    book >> Greeted(1, HELLO) << Greet(1, HELLO)
    assert book.handler.fired == 0
