"""Numbers of channels (every command is carried out: mypy, ``Executor._do``)."""

from harness.proxy import events


def test_main_is_no_multifd_channel() -> None:
    assert events.MAIN not in range(256)
