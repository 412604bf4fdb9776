"""Fixtures for the proxy's tests."""

import random
from collections.abc import Callable, Iterator

import msgspec
import pytest

from harness.proxy.chain import handler_of
from harness.proxy.events import Opened
from harness.scenario import fault_plan as plan
from tests.unit.proxy.ends import Ends
from tests.unit.proxy.playbook import Playbook
from tests.unit.proxy.wires import Wire

CHANNELS = 4


@pytest.fixture
def play() -> Iterator[Callable[[plan.Fault], Playbook]]:
    """A playbook for the fault of a spec, with channels 0 to 3 open; it must be finished.

    The spec must survive JSON, and describe itself in a line.
    """
    books = []

    def make(spec: plan.Fault, channels: int = CHANNELS) -> Playbook:
        assert msgspec.json.decode(msgspec.json.encode(spec), type=plan.Fault) == spec
        assert spec.describe().strip()
        assert "\n" not in spec.describe()
        book = Playbook(handler_of(type(spec))(spec, random.Random(0)))
        for channel in range(channels):
            book >> Opened(channel)
        books.append(book)
        return book

    yield make
    for book in books:
        book.ends()


@pytest.fixture
def new_ends() -> Iterator[Callable[[str], Ends]]:
    made = []

    def make(kind: str) -> Ends:
        made.append(Ends(kind))
        return made[-1]

    yield make
    for ends in made:
        ends.close()


@pytest.fixture
def new_wire() -> Iterator[Callable[..., Wire]]:
    made = []

    def make(*faults: plan.Fault, **args) -> Wire:
        made.append(Wire(faults, **args))
        return made[-1]

    yield make
    for wire in made:
        wire.close()
