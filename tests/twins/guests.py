"""Broken twins of runs with a guest."""

from harness.history.guest import GaveUp
from harness.history.records import Kind, Record, Side
from harness.history.session import Deadline
from tests.twins.damage import drop, held, one, some, swap
from tests.twins.twin import twin

_DAMAGED = "damaged: byte 0x1000: 0, not 0x1e3779b97f4a7c15"


@twin("RUN", on="guest")
def memory_is_damaged(records: list[Record]) -> list[Record]:
    """A page of the guest is not that of the source."""
    return swap(records, [_rounds(records)[0]], memory=_DAMAGED)


@twin("ORD-1", on="guest")
def bar_is_damaged(records: list[Record]) -> list[Record]:
    """The device has the right bytes, but the guest does not reach them."""
    told = _rounds(records)[0]
    devices = held(told).devices
    return swap(records, [told], devices={**devices, min(devices): _DAMAGED})


@twin("RUN", on="guest")
def guest_goes_back(records: list[Record]) -> list[Record]:
    """The destination runs it from an older state than that in which the source stopped it."""
    first = held(_rounds(records)[0]).round
    last = one(records, "round", kind=Kind.GUEST, side=Side.SOURCE)
    return swap(records, [last], round=first)


@twin("RUN", on="guest")
def guest_gives_up(records: list[Record]) -> list[Record]:
    """It finds no device any more."""
    told = _rounds(records)[0]
    rest = drop(records, "round", kind=Kind.GUEST, side=Side.DESTINATION)
    return [*rest, Record.of(told.t_ns, told.side, GaveUp(why="BAR 0: I/O error"))]


@twin("RUN", on="guest")
def guest_falls_silent(records: list[Record]) -> list[Record]:
    """Nothing is heard of it at the destination until the harness gives up."""
    told = _rounds(records)
    rest = drop(records, "round", kind=Kind.GUEST, side=Side.DESTINATION)
    awaited = "5 more rounds of the guest at the destination"
    gave_up = Deadline(waiting_for=awaited, deadline_s=15.0)
    return [*rest, Record.of(told[-1].t_ns, Side.HARNESS, gave_up)]


def _rounds(records: list[Record]) -> list[Record]:
    return some(records, "round", kind=Kind.GUEST, side=Side.DESTINATION)
