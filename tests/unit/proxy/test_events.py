"""Every command that there is gets carried out."""

import typing

import pytest

from harness.proxy import director, events


@pytest.mark.parametrize("command", typing.get_args(events.Command))
def test_director_knows_every_command(command: type) -> None:
    source = typing.cast("str", director.Director._do.__doc__ or "")
    names = director.Director._do.__code__.co_names
    assert command.__name__ in names, source


def test_main_is_no_multifd_channel() -> None:
    assert events.MAIN not in range(256)
