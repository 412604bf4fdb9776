"""Why a migration hangs, as far as the trace tells."""

import msgspec
import pytest

from harness.check import hang
from harness.check.evidence import (
    BUFFERS_END,
    CONFIG_START,
    INCOMING,
    LOAD_END,
    LOAD_START,
    SAVE_THREAD_END,
    SAVE_THREAD_START,
    STARVED,
    THREAD_END,
    Evidence,
    Seen,
)
from harness.check.hang import (
    RECV_END,
    RECV_HEADER,
    RECV_SYNC_DONE,
    RECV_SYNC_WAIT,
    SEND_END,
    SHAPES,
    SYNC_DONE,
    SYNC_SIGNAL,
    SYNC_WAIT,
    cause,
    goes_on,
)
from harness.history import Kind, Record, Side
from harness.history.device import Read, Write
from harness.history.session import Deadline, Standstill
from harness.model.expectation import expect
from tests.unit.check.histories import FACTS, SRC, device, find, history, scenario
from tests.unit.check.story import START

S = 10**9
DEADLINE = Record.of(START + 30 * S, Side.HARNESS, Deadline(waiting_for="the end"))


def trace(after_s: float, name: str, device: str = "") -> Record:
    return Record(START + int(after_s * S), SRC, Kind.TRACE, name, {}, device)


def hung(*records: Record, devices=("vfio0",)):
    of = scenario(*(device(name) for name in devices))
    return history(of, [*records, DEADLINE])


def told(*records: Record, devices=("vfio0",)):
    run = hung(*records, devices=devices)
    return cause(Evidence(Seen(run), expect(run.scenario, FACTS, FACTS)), DEADLINE)


@pytest.mark.parametrize(
    "moved",
    [
        Record.of(0, SRC, Read(offset=0, asked=1, got=1, errno=0), "vfio0"),
        Record.of(0, Side.DESTINATION, Write(offset=0, asked=1, got=1, errno=0), "vfio0"),
        Record(0, Side.DESTINATION, Kind.TRACE, LOAD_END, {"idx": 7}, "vfio0"),
    ],
    ids=["read", "write", "load"],
)
def test_transfer_that_still_moves_state_is_slow_and_does_not_hang(moved):
    def run(after_s: float):
        return hung(*STUCK, msgspec.structs.replace(moved, t_ns=START + int(after_s * S)))

    def checked(after_s: float):
        saved = run(after_s)
        return Evidence(Seen(saved), expect(saved.scenario, FACTS, FACTS))

    assert "longer deadline_s" in goes_on(checked(29.5), DEADLINE)
    assert cause(checked(29.5), DEADLINE) is None, "a slow link is no deadlock"
    assert goes_on(checked(28.5), DEADLINE) == ""
    assert cause(checked(28.5), DEADLINE) is not None


STUCK = (trace(1, SAVE_THREAD_START, "vfio0"), trace(2, SYNC_SIGNAL))


def test_sync_that_never_ends_while_a_device_still_queues():
    found = told(*STUCK)
    assert found is not None
    sentence, evidence, shape = found
    assert shape in SHAPES
    assert "waits in multifd_send_sync_main() for its channels" in sentence
    assert "while vfio0 still queues state" in sentence
    assert shape == "send-sync-waits-while-state-is-queued"
    assert {record.name for record in evidence} == {SYNC_SIGNAL, SAVE_THREAD_START}


def test_all_devices_that_still_queue_are_named():
    found = told(*STUCK, trace(1, SAVE_THREAD_START, "b"), devices=("vfio0", "b"))
    assert found is not None
    assert "while b, vfio0 still queue state" in found[0]


def test_sync_before_the_one_that_hangs_changes_nothing():
    assert told(trace(0.5, SYNC_SIGNAL), trace(0.6, SYNC_DONE), *STUCK) is not None


@pytest.mark.parametrize(
    "records",
    [
        (),
        (trace(2, SYNC_SIGNAL),),
        (trace(1, SAVE_THREAD_START, "vfio0"),),
        (*STUCK, trace(3, SYNC_DONE)),
        (*STUCK, trace(3, SAVE_THREAD_END, "vfio0")),
        (trace(1, SAVE_THREAD_START, "vfio0"), trace(31, SYNC_SIGNAL)),
    ],
    ids=["nothing", "no device", "no sync", "sync done", "device done", "after the deadline"],
)
def test_another_shape_has_no_name(records):
    assert told(*records) is None


def test_the_verdict_tells_it():
    finding = find(hung(*STUCK), "RUN")
    assert finding.sentence.startswith("the end did not come: the source's migration thread")
    assert finding.evidence[-1] == DEADLINE


def test_the_cause_goes_before_what_was_seen():
    still = Record.of(DEADLINE.t_ns - 1, Side.HARNESS, Standstill(2.0, 0.0, {"source": 5}))
    finding = find(hung(*STUCK, still), "RUN")
    cause, _, seen = finding.sentence.partition("; ")
    assert cause.startswith("the end did not come: the source's migration thread")
    assert seen.startswith("nothing had moved for 2.0 s: ")
    assert seen.endswith(" (5 of the source)")
    assert finding.shape == "send-sync-waits-while-state-is-queued"


def test_thread_that_spins_is_named():
    args = Standstill(2.0, 0.0, {"source": 5, "destination": 7}, {"source": "pool-0"})
    assert hang.words(args).endswith(
        "all threads were asleep (5 of the source and 7 of the destination) but pool-0 of the "
        "source, which spun"
    )


def source(after_s: float, name: str, **args: int) -> Record:
    return Record(START + int(after_s * S), SRC, Kind.TRACE, name, args)


def test_sync_with_a_channel_that_has_ended():
    wait, ended = (
        source(1, SYNC_WAIT, id=0),
        (source(2, SEND_END, id=1), source(2.1, SEND_END, id=0)),
    )
    found = told(wait, *ended)
    assert found is not None
    sentence, evidence, shape = found
    assert shape in SHAPES
    assert "migration thread waits in multifd_send_sync_main() for its channels" in sentence
    assert sentence.endswith("of which 0, 1 ended")
    assert shape == "send-sync-waits-for-ended-channel"
    assert evidence == [wait, ended[0]]
    assert told(wait, source(1.5, SYNC_DONE), *ended) is None
    assert told(wait) is None
    assert told(*ended) is None


# -- the destination ---------------------------------------------------------------------


def destination(after_s: float, name: str, device: str = "", **args: int) -> Record:
    return Record(START + int(after_s * S), Side.DESTINATION, Kind.TRACE, name, args, device)


WAIT = destination(1, RECV_SYNC_WAIT, id=3)
ENDED = destination(2, RECV_END, id=3), destination(2.1, RECV_END, id=1)
STARVING = destination(1, STARVED, "vfio0", idx=2)


def test_main_thread_waits_for_the_sync_of_a_channel_that_ended():
    found = told(WAIT, *ENDED)
    assert found is not None
    sentence, evidence, shape = found
    assert shape in SHAPES
    assert "main thread waits in multifd_recv_sync_main() for its channels" in sentence
    assert sentence.endswith("of which 1, 3 ended")
    assert shape == "recv-sync-waits-for-ended-channel"
    assert evidence == [WAIT, ENDED[0]]


def test_load_thread_waits_though_channels_have_ended():
    found = told(STARVING, *ENDED)
    assert found is not None
    sentence, evidence, shape = found
    assert shape in SHAPES
    assert "load thread of vfio0 waits for packet 2, though channel 1, 3 ended" in sentence
    assert evidence == [STARVING, ENDED[0]]
    assert shape == "load-thread-waits-some-channels-ended"


def test_destination_that_failed_has_ended_all_channels_and_is_another_shape():
    """An end that is taken for a good one leaves the other channels as they are."""
    all_of_them = [destination(2, RECV_END, id=number) for number in range(scenario().channels)]
    found = told(STARVING, *all_of_them)
    assert found is not None
    assert found.shape == "load-thread-waits"
    fewer = told(STARVING, *all_of_them[1:])
    assert fewer is not None
    assert fewer.shape == "load-thread-waits-some-channels-ended"


def test_sync_that_is_waited_for_comes_before_the_load():
    found = told(STARVING, WAIT, *ENDED)
    assert found is not None
    assert "multifd_recv_sync_main()" in found[0]


def loading(name: str, after_s: float) -> Record:
    return destination(after_s, name, "vfio0", idx=1)


def packet(after_s: float, channel: int = 2) -> Record:
    return msgspec.structs.replace(loading(INCOMING, after_s), channel=channel)


LOADED = loading(LOAD_START, 2), loading(BUFFERS_END, 3)
ONE_MORE = packet(4)


@pytest.mark.parametrize("more", [packet(2.5), ONE_MORE], ids=["as data is written", "later"])
def test_load_thread_waits_for_the_main_thread_which_waits_for_a_channel(more):
    found = told(WAIT, *LOADED, more)
    assert found is not None
    sentence, evidence, shape = found
    assert shape in SHAPES
    assert "for channel 2, which has one more packet of vfio0" in sentence
    assert evidence == [WAIT, LOADED[1], more]
    assert shape == "recv-sync-waits-for-load-of-configuration"


@pytest.mark.parametrize(
    "records",
    [
        (WAIT, *LOADED),
        (WAIT, LOADED[0], ONE_MORE),
        (WAIT, *LOADED, packet(1.5)),
        (WAIT, *LOADED, ONE_MORE, destination(5, RECV_HEADER, id=2)),
        (WAIT, *LOADED, ONE_MORE, loading(CONFIG_START, 5)),
        (WAIT, *LOADED, ONE_MORE, destination(5, RECV_SYNC_DONE)),
        (*LOADED, ONE_MORE),
    ],
    ids=["no packet more", "data is missing", "packet before the last write",
         "the channel went on", "it loads the configuration", "sync is over", "no sync"],
)  # fmt: skip
def test_load_thread_does_not_wait_for_the_main_thread(records):
    assert told(*records) is None


def test_channel_that_went_on_is_another_one():
    went_on = destination(5, RECV_HEADER, id=1)
    assert told(WAIT, *LOADED, ONE_MORE, went_on) is not None


@pytest.mark.parametrize(
    "records",
    [
        (WAIT,),
        (STARVING,),
        ENDED,
        (WAIT, destination(1.5, RECV_SYNC_DONE), *ENDED),
        (STARVING, destination(3, THREAD_END, "vfio0"), *ENDED),
        (STARVING, destination(31, RECV_END, id=1)),
        (WAIT, destination(31, RECV_END, id=1)),
    ],
    ids=["no end while syncing", "no end while loading", "nobody waits", "sync is over",
         "load is over", "load: after the deadline", "sync: after the deadline"],
)  # fmt: skip
def test_no_shape_of_the_destination(records):
    assert told(*records) is None
