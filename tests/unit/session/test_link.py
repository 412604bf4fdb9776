"""The relay of a scenario: what passes is recorded; faults hear what devices have loaded."""

import itertools
import threading

import pytest

from harness.errors import UsageError, VMError
from harness.history import Kind, Record, Side, session, wire
from harness.history.device import Write
from harness.proxy.address import TcpAddress, UnixAddress, from_qmp
from harness.proxy.recorder import Seen, digest_of
from harness.scenario import DataPath, EmulatedDevice, MdevDevice, Scenario
from harness.scenario.fault_plan import Drop, Flip, Hold, Select, Until
from harness.session.link import Delivered, Link, idstr_of
from harness.session.log import Log
from harness.vm.sockets import DESTINATION, Sockets
from harness.wire.packets import DeviceStatePacket, MultiFDInit

DEADLINE_S = 5.0
DEVICE = EmulatedDevice(id="net0", size=4096, data_path=DataPath.SUPERVISED)


def packet(idx, data=b"data", idstr="0000:00:02.0/vfio", flags=0):
    return DeviceStatePacket(idstr.encode().ljust(256, b"\0"), 0, idx, data, flags).pack()


class Ends:
    """A source's socket and a destination's listener, with a link between them."""

    def __init__(self, home, address, *faults, device=DEVICE):
        self.log = Log()
        self.changed = threading.Condition()
        self.log.listen(self._notify)
        self.listener = address.listen()
        self.listener.setblocking(True)
        self.listener.settimeout(DEADLINE_S)
        scenario = Scenario(name="link", devices=(device,), relay=True, faults=faults)
        self.link = Link(scenario, address.bound(self.listener).qmp(), self.log, home=home)
        target = from_qmp(self.link.address, home)
        self.source = target.make_socket()
        assert target.connect(self.source) == 0
        self.source.settimeout(DEADLINE_S)
        self.source.sendall(MultiFDInit(0).pack())
        self.destination = self.listener.accept()[0]
        self.destination.settimeout(DEADLINE_S)
        self.received(64)

    def _notify(self, _record):
        with self.changed:
            self.changed.notify_all()

    def received(self, size):
        data = b""
        while len(data) < size:
            data += self.destination.recv(size - len(data))
        return data

    def wait_for(self, name):
        with self.changed:
            assert self.changed.wait_for(lambda: self.named(name), DEADLINE_S), name
        return self.named(name)

    def named(self, name):
        return [record for record in list(self.log.records) if record.name == name]

    def close(self):
        for sock in (self.source, self.destination, self.listener):
            sock.close()
        self.link.abandon()


@pytest.fixture
def ends(tmp_path):
    made = []
    Sockets(Scenario(name="link"), tmp_path).make()

    def make(*faults, address=None, device=DEVICE):
        address = address or UnixAddress(DESTINATION, tmp_path)
        found = Ends(tmp_path, address, *faults, device=device)
        made.append(found)
        return found

    yield make
    for each in made:
        each.close()


@pytest.mark.parametrize("address", [None, TcpAddress()], ids=["unix", "tcp"])
def test_packets_pass_and_are_recorded_with_the_devices_id(ends, address):
    here = ends(address=address)
    here.source.sendall(packet(0))
    assert here.received(len(packet(0))) == packet(0)
    (record,) = here.wait_for("packet_out")
    assert (record.kind, record.side, record.device) == (Kind.WIRE, Side.HARNESS, "net0")
    assert record.channel == 0
    assert (record.args.idx, record.args.size, record.args.digest) == (0, 4, None)


@pytest.mark.parametrize(
    ("device", "faults", "digest"),
    [
        (DEVICE, (), None),
        (DEVICE, (Drop(select=Select(idx=(9,))),), digest_of(b"data")),
        (MdevDevice(id="net0"), (), digest_of(b"data")),
    ],
    ids=["nobody needs it", "a fault may change it", "the device is not seen"],
)
def test_digest_of_a_packet_is_recorded_where_it_is_needed(ends, device, faults, digest):
    here = ends(*faults, device=device)
    here.source.sendall(packet(0))
    came, went = here.wait_for("packet_in"), here.wait_for("packet_out")
    assert [record.args.digest for record in (*came, *went)] == [digest] * 2


def test_packet_for_no_device_is_recorded_with_its_idstr(ends):
    here = ends()
    here.source.sendall(packet(0, idstr="0000:00:1f.0/other"))
    (record,) = here.wait_for("packet_out")
    assert record.device == ""
    assert bytes.fromhex(record.args.idstr) == b"0000:00:1f.0/other"


def test_faults_know_devices_by_their_ids_and_what_they_did_is_recorded(ends):
    here = ends(Drop(select=Select(device="net0", idx=(0,))), Drop(select=Select(idx=(9,))))
    here.source.sendall(packet(0) + packet(1))
    assert here.received(len(packet(1))) == packet(1)
    here.link.close()
    (faults,) = here.named("faults")
    assert faults.args == session.Faults([1, 0], [False, False])


@pytest.mark.parametrize("ends_first", [True, False])
def test_what_is_kept_back_is_settled_at_the_end_of_the_migration(ends, ends_first):
    """What is let go by what the harness does afterwards was kept back all the same."""
    here = ends(Hold(select=Select(idx=(0,)), until=Until(told="switchover")))
    here.source.sendall(packet(0) + packet(1))
    here.received(len(packet(1)))
    if ends_first:
        here.link.end()
    here.link.notify("switchover")
    here.received(len(packet(0)))
    here.link.close()
    (faults,) = here.named("faults")
    assert faults.args == session.Faults([1], [ends_first])


def test_fault_for_a_device_that_is_not_there_is_refused():
    fault = Drop(select=Select(device="gpu0"))
    scenario = Scenario(name="link", devices=(DEVICE,), faults=(fault,))
    with pytest.raises(UsageError, match="no device gpu0; there is net0"):
        Link(scenario, UnixAddress("nobody").qmp(), Log())


def test_faults_are_notified_of_what_the_destinations_device_has_loaded(ends):
    here = ends(Hold(select=Select(idx=(1,)), until=Until(told="loaded", value=4)))
    here.source.sendall(packet(0) + packet(1) + packet(2))
    here.received(len(packet(0)) + len(packet(2)))
    good = Write(offset=0, asked=4, got=4, errno=0)
    bad = Write(offset=0, asked=4, got=4, errno=5)
    for side, written in ((Side.SOURCE, good), (Side.DESTINATION, bad)):
        here.log(Record.of(1, side, written, "net0"))
    here.destination.settimeout(0.05)
    with pytest.raises(TimeoutError):
        here.received(1)
    here.destination.settimeout(DEADLINE_S)
    here.log(Record.of(1, Side.DESTINATION, good, "net0"))
    assert here.received(len(packet(1))) == packet(1)


def test_data_that_a_fault_may_change_is_digested_as_delivered(ends):
    here = ends(Flip(select=Select(idx=(1,)), mask=1))
    config = packet(2, b"\xff" * 8 + b"config", flags=1)
    here.source.sendall(packet(1, b"b") + packet(0, b"a") + config)
    here.received(len(packet(1, b"b")) + len(packet(0, b"a")) + len(config))
    here.link.close()
    (delivered,) = here.named("delivered")
    assert delivered.device == "net0"
    assert delivered.args == wire.Delivered(2, digest_of(b"ac"))
    (out,) = [r for r in here.named("packet_out") if r.args.state_flags]
    assert out.args.marker == "ff" * 8


def test_link_that_failed_loses_the_run(ends, monkeypatch):
    here = ends()
    monkeypatch.setattr(here.link._relay, "failure", OSError("no"))
    with pytest.raises(VMError, match="the relay failed"):
        here.link.close()


def test_closed_twice_is_recorded_once(ends):
    here = ends()
    here.link.close()
    here.link.abandon()
    assert len(here.named("faults")) == 1


def test_place_on_the_bus_names_the_device():
    assert [idstr_of(0), idstr_of(14)] == ["0000:00:02.0/vfio", "0000:00:10.0/vfio"]


# -- what was delivered of a device's data is put together by idx ----------------------------

IDSTR = "0000:00:02.0/vfio"


def collected(*packets):
    delivered = Delivered()
    for idx, flags, payload in packets:
        delivered.take(Seen(1, wire.PacketOut(idx, flags, 0, len(payload), ""), 0, IDSTR, payload))
    return delivered


def args(data):
    return wire.Delivered(bytes=len(data), digest=digest_of(data))


def test_data_is_put_in_order_whichever_way_it_came():
    parts = [(0, 0, b"ab"), (1, 0, b""), (2, 0, b"c")]
    for order in itertools.permutations(parts):
        assert collected(*order).of(IDSTR) == args(b"abc")


def test_configuration_is_no_data():
    assert collected((0, 0, b"ab"), (1, 1, b"config")).of(IDSTR) == args(b"ab")


def test_first_of_two_with_one_idx_counts():
    assert collected((0, 0, b"ab"), (0, 0, b"xy")).of(IDSTR) == args(b"ab")


def test_what_follows_a_gap_is_not_loaded():
    assert collected((0, 0, b"ab"), (2, 0, b"cd")).of(IDSTR) == args(b"ab")


def test_payload_without_a_header_is_of_no_device():
    assert collected((None, 0, b"short")).of(IDSTR) == args(b"")


def test_each_device_has_its_own():
    assert collected((0, 0, b"ab")).of("0000:00:03.0/vfio") == args(b"")
