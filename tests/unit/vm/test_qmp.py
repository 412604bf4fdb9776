"""The monitor against a QMP server that does exactly what each test says."""

import asyncio
import json
import socket

import pytest

from harness.errors import LostVM, QmpError, QmpTimeout, VMError
from harness.history import Kind, Side
from harness.vm.qmp import Monitor

DEADLINE_S = 10.0
PACKAGE = "Debian 1:10.0.2"


def greeting(package=PACKAGE):
    version = {"qemu": {"major": 10, "minor": 0, "micro": 2}, "package": package}
    return {"QMP": {"version": version, "capabilities": ["oob"]}}


class Server:
    """QEMU's end of a monitor."""

    def __init__(self, sock):
        self._sock = sock
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter
        self._pending = ""

    async def open(self):
        self._reader, self._writer = await asyncio.open_connection(sock=self._sock)

    def send(self, **message):
        self._writer.write(json.dumps(message).encode() + b"\r\n")

    def send_raw(self, data):
        self._writer.write(data)

    async def next(self):
        """The next command."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                self._pending = self._pending.lstrip()
                try:
                    message, end = json.JSONDecoder().raw_decode(self._pending)
                except ValueError:
                    data = await self._reader.read(65536)
                    assert data, "the monitor is gone"
                    self._pending += data.decode()
                else:
                    self._pending = self._pending[end:]
                    return message

    async def answer(self, value):
        """Take the next command and answer it; the command."""
        message = await self.next()
        self.send(**{"return": value}, id=message["id"])
        return message

    async def negotiate(self, package=PACKAGE):
        self.send(**greeting(package))
        message = await self.next()
        assert message["execute"] == "qmp_capabilities"
        self.send(**{"return": {}})
        return message

    def event(self, name, data=None, at=(12, 345_678)):
        stamp = {"seconds": at[0], "microseconds": at[1]}
        more = {} if data is None else {"data": data}
        self.send(event=name, timestamp=stamp, **more)

    async def close(self):
        self._writer.close()
        await self._writer.wait_closed()


@pytest.fixture
async def wire(record, activity):
    """(monitor, its socket, server), not yet connected."""
    ours, theirs = socket.socketpair()
    server = Server(theirs)
    await server.open()
    monitor = Monitor(Side.SOURCE, record, activity.notify)
    yield monitor, ours, server
    await server.close()
    await monitor.close()
    ours.close()


@pytest.fixture
async def talk(wire):
    """(monitor, server), connected."""
    monitor, ours, server = wire
    async with asyncio.TaskGroup() as group:
        group.create_task(server.negotiate())
        group.create_task(monitor.connect(ours, DEADLINE_S))
    return monitor, server


async def both(monitor_side, server_side):
    """What both sides give that run at the same time."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(side) for side in (monitor_side, server_side)]
    return [task.result() for task in tasks]


# -- connecting -----------------------------------------------------------------------


async def test_greeting_tells_the_version_and_oob_is_enabled(wire, records):
    monitor, ours, server = wire
    _, message = await both(monitor.connect(ours, DEADLINE_S), server.negotiate())
    assert message["arguments"] == {"enable": ["oob"]}
    assert monitor.version == (10, 0, 2)
    assert monitor.version_text == "10.0.2 Debian 1:10.0.2"
    assert records == [], "the negotiation is qemu.qmp's business"


async def test_version_without_a_package_is_the_number(wire):
    monitor, ours, server = wire
    await both(monitor.connect(ours, DEADLINE_S), server.negotiate(package=""))
    assert monitor.version_text == "10.0.2"


async def test_version_is_not_known_before_the_greeting(wire):
    monitor, _, _ = wire
    with pytest.raises(LostVM, match=r"^source: not connected$"):
        _ = monitor.version


async def test_no_greeting_in_time_is_a_lost_vm(wire):
    monitor, ours, _ = wire
    with pytest.raises(LostVM, match=r"^source: no QMP greeting within 0\.05 s$"):
        await monitor.connect(ours, 0.05)


@pytest.mark.parametrize("first", [b"", b'{"QMP": {"vers', b'{"hello": 1}\r\n', b"nonsense\r\n"])
async def test_end_before_the_greeting_is_a_lost_vm(wire, first):
    monitor, ours, server = wire
    server.send_raw(first)
    await server.close()
    with pytest.raises(LostVM, match=r"^source: the monitor closed before its greeting$"):
        await monitor.connect(ours, DEADLINE_S)


async def test_refused_negotiation_is_a_lost_vm(wire):
    monitor, ours, server = wire
    server.send(**greeting())
    server.send(error={"class": "GenericError", "desc": "no"})
    with pytest.raises(LostVM):
        await monitor.connect(ours, DEADLINE_S)


# -- commands -------------------------------------------------------------------------


async def test_command_gives_its_return_value_and_both_are_recorded(talk, records):
    monitor, server = talk
    arguments = {"uri": "exec:x"}
    value, message = await both(
        monitor.execute("migrate", arguments), server.answer({"status": "setup"})
    )
    assert value == {"status": "setup"}
    assert (message["execute"], message["arguments"]) == ("migrate", arguments)
    assert [(r.side, r.kind, r.name, r.args) for r in records] == [
        (Side.SOURCE, Kind.QMP, "execute", {"command": "migrate", "arguments": arguments}),
        (
            Side.SOURCE,
            Kind.QMP,
            "return",
            {"command": "migrate", "value": {"status": "setup"}},
        ),
    ]
    assert records[0].t_ns <= records[1].t_ns


async def test_command_without_arguments_has_none(talk, named):
    monitor, server = talk
    _, message = await both(monitor.execute("stop"), server.answer({}))
    assert not message.get("arguments")
    assert named("execute") == [{"command": "stop", "arguments": {}}]


async def refuse(server, desc):
    message = await server.next()
    server.send(error={"class": "GenericError", "desc": desc}, id=message["id"])


async def fails(error, waiting):
    with pytest.raises(error) as failure:
        await waiting
    return failure.value


async def test_refused_command_is_a_qmp_error_and_recorded(talk, named):
    monitor, server = talk
    error, _ = await both(
        fails(QmpError, monitor.execute("migrate")), refuse(server, "already in progress")
    )
    assert (error.command, error.error_class) == ("migrate", "GenericError")
    assert error.desc == "already in progress"
    assert named("error") == [
        {"command": "migrate", "class": "GenericError", "desc": "already in progress"}
    ]
    assert named("return") == []


async def test_refusal_leaves_the_monitor_usable(talk):
    monitor, server = talk
    await both(fails(QmpError, monitor.execute("migrate")), refuse(server, "no"))
    assert (await both(monitor.execute("stop"), server.answer({})))[0] == {}


async def test_no_answer_in_time_is_a_timeout_and_the_monitor_stays_usable(talk, named):
    monitor, server = talk
    error = await fails(QmpTimeout, monitor.execute("query-migrate", timeout_s=0.05))
    assert str(error) == "source: query-migrate was not answered within 0.05 s"
    assert named("return") == named("error") == []
    late = await server.next()
    server.send(**{"return": {"status": "late"}}, id=late["id"])
    value, _ = await both(monitor.execute("query-status"), server.answer({"status": "running"}))
    assert value == {"status": "running"}, "the late answer belongs to nobody"


async def test_answers_find_their_commands_in_any_order(talk):
    monitor, server = talk

    async def answer_backwards():
        messages = [await server.next() for _ in range(3)]
        for message in reversed(messages):
            server.send(**{"return": message["execute"]}, id=message["id"])

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(monitor.execute(name)) for name in ("a", "b", "c")]
        group.create_task(answer_backwards())
    assert [task.result() for task in tasks] == ["a", "b", "c"]


async def hang_up(server):
    await server.next()
    await server.close()


async def test_end_in_mid_command_is_a_lost_vm(talk, named):
    monitor, server = talk
    error, _ = await both(fails(LostVM, monitor.execute("migrate")), hang_up(server))
    assert str(error) == "source: the monitor went away during migrate"
    assert named("execute")
    assert named("return") == named("error") == []


async def test_command_after_the_end_is_a_lost_vm(talk):
    monitor, server = talk
    await both(fails(LostVM, monitor.execute("migrate")), hang_up(server))
    error = await fails(LostVM, monitor.execute("query-status"))
    assert str(error) == "source: the monitor went away during query-status"


async def test_command_before_the_connection_is_a_lost_vm(wire):
    await fails(LostVM, wire[0].execute("query-status"))


# -- the human monitor ----------------------------------------------------------------


async def test_human_monitor_gives_its_text_and_is_not_recorded(talk, records):
    monitor, server = talk
    text, message = await both(monitor.human("info pci"), server.answer("Bus 0\r\n"))
    assert text == ["Bus 0\r\n"]
    assert message["execute"] == "human-monitor-command"
    assert message["arguments"] == {"command-line": "info pci"}
    assert records == []


async def test_lines_of_one_call_are_sent_together_and_in_order(talk):
    """Two calls at once: each one's lines stay together, or a port would be read for another."""
    monitor, server = talk

    async def answer_all():
        sent = [await server.next() for _ in range(4)]
        for message in sent:
            server.send(**{"return": message["arguments"]["command-line"]}, id=message["id"])
        return [message["arguments"]["command-line"] for message in sent]

    async def ask_all():
        return await asyncio.gather(monitor.human("a1", "a2"), monitor.human("b1", "b2"))

    (first, second), sent = await both(ask_all(), answer_all())
    assert sent == ["a1", "a2", "b1", "b2"]
    assert (first, second) == (["a1", "a2"], ["b1", "b2"])


async def test_human_monitor_fails_as_a_command_does(talk, monkeypatch):
    monitor, server = talk
    await both(fails(QmpError, monitor.human("x")), refuse(server, "no"))
    monkeypatch.setattr("harness.vm.qmp.COMMAND_TIMEOUT_S", 0.05)
    assert isinstance(await fails(VMError, monitor.human("x")), QmpTimeout)
    await server.next()
    monkeypatch.undo()
    await both(fails(LostVM, monitor.human("x")), hang_up(server))


# -- events ---------------------------------------------------------------------------


async def test_event_is_recorded_with_qemus_own_time(talk, records, activity):
    monitor, server = talk
    server.event("MIGRATION", {"status": "active"}, at=(1_700_000_000, 123_456))
    await activity.until(lambda: monitor.events or None, DEADLINE_S)
    (event,) = monitor.events
    assert records == [event]
    assert event.t_ns == 1_700_000_000_123_456_000
    assert (event.side, event.kind) == (Side.SOURCE, Kind.QMP)
    assert (event.name, event.args, event.device) == ("MIGRATION", {"status": "active"}, "")


async def test_event_of_a_device_names_it(talk, activity):
    monitor, server = talk
    data = {"device-id": "vfio0", "qom-path": "/machine/x", "device-state": "stop"}
    server.event("VFIO_MIGRATION", data)
    await activity.until(lambda: monitor.events or None, DEADLINE_S)
    assert monitor.events[0].device == "vfio0"
    assert monitor.events[0].args == data


async def test_event_without_data_has_none(talk, activity):
    monitor, server = talk
    server.event("RESUME")
    await activity.until(lambda: monitor.events or None, DEADLINE_S)
    assert (monitor.events[0].name, monitor.events[0].args) == ("RESUME", {})


async def test_events_keep_their_order_among_answers(talk, records):
    monitor, server = talk

    async def script():
        message = await server.next()
        server.event("STOP")
        server.event("MIGRATION", {"status": "device"})
        server.send(**{"return": {}}, id=message["id"])

    await both(monitor.execute("stop"), script())
    assert [r.name for r in records] == ["execute", "STOP", "MIGRATION", "return"]
    assert [r.name for r in monitor.events] == ["STOP", "MIGRATION"]


# -- the rest -------------------------------------------------------------------------


@pytest.mark.parametrize(("oob", "key"), [(True, "exec-oob"), (False, "execute")])
async def test_monitor_is_asked_in_band_or_out_of_band(talk, records, oob, key):
    monitor, server = talk
    is_answering, message = await both(monitor.is_answering(oob=oob), server.answer([]))
    assert is_answering
    assert {"exec-oob", "execute"} & message.keys() == {key}
    assert records == []


async def test_monitor_is_not_answering_if_it_is_silent_or_gone(talk):
    monitor, server = talk
    with pytest.raises(TimeoutError):  # the caller limits the time
        async with asyncio.timeout(0.05):
            await monitor.is_answering(oob=True)
    await server.next()
    is_answering, _ = await both(monitor.is_answering(oob=True), hang_up(server))
    assert not is_answering
    assert not await monitor.is_answering(oob=False)


async def test_end_of_the_connection_can_be_waited_for(talk):
    monitor, server = talk
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(monitor.wait_gone())
        await both(monitor.execute("stop"), server.answer({}))
        assert not waiting.done()
        await server.close()
        async with asyncio.timeout(DEADLINE_S):
            await waiting
    async with asyncio.timeout(DEADLINE_S):
        await monitor.wait_gone()


async def test_closing_twice_or_after_the_end_is_quiet(talk):
    monitor, server = talk
    await server.close()
    await monitor.close()
    await monitor.close()
    await fails(LostVM, monitor.execute("query-status"))


async def test_monitor_that_was_never_connected_can_be_closed(wire):
    await wire[0].close()


async def test_closing_again_or_before_there_was_a_connection_does_nothing(talk):
    monitor, _ = talk
    await monitor.close()
    await monitor.close()
    never = Monitor(Side.SOURCE, lambda _record: None, lambda: None)
    await never.close()
    assert not await never.is_answering(oob=False)


async def test_monitor_knows_that_it_was_told_to_quit(talk):
    """QEMU goes a while after it has answered."""
    monitor, server = talk
    await both(monitor.execute("query-status"), server.answer({}))
    assert not monitor.has_quit
    await both(monitor.execute("quit"), server.answer({}))
    assert monitor.has_quit


async def test_last_command_about_it_says_whether_the_guest_is_paused(talk):
    """Wrong if a command that was refused counts, or one that is about something else."""
    monitor, server = talk
    seen = [monitor.is_paused]
    for command, arguments in (
        ("query-status", None), ("stop", None), ("query-status", None), ("cont", None),
        ("human-monitor-command", {"command-line": "stop"}),
    ):  # fmt: skip
        await both(monitor.execute(command, arguments), server.answer({}))
        seen.append(monitor.is_paused)
    assert seen == [None, None, True, True, False, True]

    async def refuse():
        message = await server.next()
        server.send(error={"class": "GenericError", "desc": "no"}, id=message["id"])

    with pytest.raises(ExceptionGroup):
        await both(monitor.execute("cont"), refuse())
    assert monitor.is_paused is True


# -- what asyncio would print ------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "message", "is_printed"),
    [
        (EOFError(), "_GatheringFuture exception was never retrieved", False),
        (ConnectionResetError(), "Future exception was never retrieved", False),
        (ValueError("ours"), "Task exception was never retrieved", True),
        (EOFError(), "Unhandled exception in client_connected_cb", True),
    ],
)
async def test_only_the_end_of_a_connection_that_was_given_up_is_not_printed(
    talk, caplog, error, message, is_printed
):
    asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})
    assert (message in caplog.text) is is_printed
