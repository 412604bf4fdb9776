"""Functions of ivshmem with the rig's driver: filled, compared, recorded."""

import pytest

from harness.devices.ivshmem import IvshmemDevices, pattern
from harness.devices.ledger import Ledger
from harness.devices.of_kind import Target
from harness.errors import PrerequisiteMissing
from harness.history import Side
from harness.history.device import Arc, NotCompared, Read, Received, Sent
from harness.scenario import Abilities, DriverParameters, IvshmemDevice
from harness.vfio.state_bytes import Stopped
from tests.unit.devices.ivshmem_debugfs import NONE, FakeDriver
from tests.unit.devices.pci_sysfs import CARD, OTHER_CARD, FakePci

SIZE = (2 << 20) + 4096
SPEC = IvshmemDevice(id="vfio0", source=CARD, destination=OTHER_CARD, size=SIZE)
DRIVER = "ivshmem_vfio_pci"
STATE_BYTES = SIZE + 32


@pytest.fixture
def driver(tmp_path):
    return FakeDriver(tmp_path, CARD, OTHER_CARD, size=SIZE)


@pytest.fixture
def kernel(tmp_path):
    fake = FakePci(tmp_path)
    fake.add_driver(DRIVER, DRIVER)
    (fake.sysfs / "module/vfio_pci_core/holders" / DRIVER).mkdir()
    return fake


@pytest.fixture
def records():
    return []


@pytest.fixture
def attach(kernel, driver, tmp_path, records):
    def attach(side, spec=SPEC):
        target = Target(side, [spec], records.append)
        ledger = Ledger("pci", tmp_path / "run")
        return IvshmemDevices(
            [spec], target, kernel.bus, ledger, lambda *_: Abilities(), driver.root
        )

    return attach


def pair(attach, spec=SPEC):
    source, destination = attach(Side.SOURCE, spec), attach(Side.DESTINATION, spec)
    destination.expect_from(source)
    return source, destination


def migrate(driver, count=STATE_BYTES):
    """As far as the counters show it, and what the destination's BAR has then."""
    driver.set(CARD, "read_bytes", STATE_BYTES)
    driver.set(OTHER_CARD, "written_bytes", count)
    driver.write(OTHER_CARD, driver.bar(CARD))


def recorded(records, kind):
    return [record for record in records if isinstance(record.args, kind)]


def test_only_the_sources_is_filled(attach, driver):
    pair(attach)
    assert driver.bar(CARD) == pattern(1)(0, SIZE)
    assert driver.bar(OTHER_CARD) == bytes(SIZE)


def test_driver_is_set_up_before_it_is_asked(attach, driver):
    attach(Side.SOURCE)
    assert driver.get(CARD, "migration_flags") == 3
    assert SPEC.abilities == Abilities(pre_copy=False)


def test_each_side_has_its_parameters(attach, driver):
    parameters = DriverParameters(read_most=7, read_delay_us=5), DriverParameters(write_most=9)
    spec = IvshmemDevice(
        id="vfio0",
        source=CARD,
        destination=OTHER_CARD,
        size=SIZE,
        at_source=parameters[0],
        at_destination=parameters[1],
    )
    pair(attach, spec)
    names = ("read_most", "read_delay_us", "write_most", "write_delay_us")
    assert [driver.get(CARD, name) for name in names] == [7, 5, 0, 0]
    assert [driver.get(OTHER_CARD, name) for name in names] == [0, 0, 9, 0]
    assert driver.get(CARD, "read_error_at") == driver.get(CARD, "write_error_at") == NONE
    assert spec.read_sizes == (7,)
    assert SPEC.read_sizes == ()


def test_same_bytes_have_the_same_digest(attach, driver, records):
    source, destination = pair(attach)
    migrate(driver)
    destination.report()
    source.report()
    (received,), (sent,) = recorded(records, Received), recorded(records, Sent)
    assert (received.side, sent.side) == (Side.DESTINATION, Side.SOURCE)
    assert received.args.bytes == received.args.expected_bytes == sent.args.bytes == STATE_BYTES
    assert received.args.digest == received.args.expected_digest == sent.args.digest
    assert received.args.first_difference == -1
    records.clear()
    source.report()  # not with what the destination has found
    assert recorded(records, Sent)[0].args == sent.args


@pytest.mark.parametrize("at", [0, 1 << 20, SIZE - 1])
def test_other_byte_is_found(attach, driver, records, at):
    _, destination = pair(attach)
    migrate(driver)
    contents = bytearray(driver.bar(OTHER_CARD))
    contents[at] ^= 1
    driver.write(OTHER_CARD, bytes(contents))
    destination.report()
    (received,) = recorded(records, Received)
    assert received.args.first_difference == 32 + at
    assert received.args.digest != received.args.expected_digest


def test_state_that_is_cut_off_is_found_even_if_the_memory_is_the_same(attach, driver, records):
    _, destination = pair(attach)
    migrate(driver, STATE_BYTES - 5)
    destination.report()
    (received,) = recorded(records, Received)
    assert (received.args.bytes, received.args.first_difference) == (STATE_BYTES - 5,) * 2
    assert received.args.digest != received.args.expected_digest


def test_swapped_buffers_are_found(attach, driver, records):
    _, destination = pair(attach)
    migrate(driver)
    mib = 1 << 20
    bar = driver.bar(CARD)
    driver.write(OTHER_CARD, bar[mib : 2 * mib] + bar[:mib] + bar[2 * mib :])
    destination.report()
    assert recorded(records, Received)[0].args.first_difference == 32


def test_what_pre_copy_carries_is_in_the_state_twice(attach, driver, records):
    spec = IvshmemDevice(
        id="vfio0",
        source=CARD,
        destination=OTHER_CARD,
        size=SIZE,
        pre_copy=True,
        precopy_initial_bytes=4096,
    )
    source, destination = pair(attach, spec)
    assert driver.get(CARD, "migration_flags") == 7
    assert driver.get(CARD, "pre_copy_bytes") == 4096
    migrate(driver, STATE_BYTES + 4096)
    destination.report()
    source.report()
    (received,) = recorded(records, Received)
    assert received.args.bytes == spec.total_size == STATE_BYTES + 4096
    assert received.args.first_difference == -1
    assert received.args.digest == recorded(records, Sent)[0].args.digest


def test_device_that_moved_nothing_is_not_reported(attach, records):
    source, destination = pair(attach)
    records.clear()
    source.report()
    destination.report()
    assert records == []


def test_destination_without_a_source_is_known_for_itself(attach, driver, records):
    destination = attach(Side.DESTINATION)
    driver.set(OTHER_CARD, "written_bytes", STATE_BYTES)
    destination.report()
    (received,) = recorded(records, Received)
    assert (received.args.expected_bytes, received.args.first_difference) == (-1, -1)


@pytest.mark.parametrize("seed", [1, 2])
def test_capture_is_compared_with_what_a_source_is_filled_with(attach, driver, records, seed):
    destination = attach(Side.DESTINATION)
    destination.expect_generated()
    driver.set(OTHER_CARD, "written_bytes", STATE_BYTES)
    driver.write(OTHER_CARD, pattern(seed)(0, SIZE))
    destination.report()
    (received,) = recorded(records, Received)
    assert (received.args.first_difference == -1) is (seed == SPEC.seed)


def test_calls_are_recorded_once_and_at_their_time(attach, driver, records):
    source = attach(Side.SOURCE)
    records.clear()
    driver.set(CARD, "events", "5 arc 3 0x53 0 0\n6 read 0 0x20 32 0")
    source.observe_calls()
    source.observe_calls()
    assert [(record.t_ns, type(record.args)) for record in records] == [(5, Arc), (6, Read)]
    assert {(record.side, record.device) for record in records} == {(Side.SOURCE, "vfio0")}


def test_comparison_that_is_stopped_is_recorded(attach, driver, records):
    def stop():
        raise Stopped("no time is left")

    source, destination = pair(attach)
    migrate(driver)
    destination.report(stop)
    source.report(stop)
    found = [record.args for record in recorded(records, NotCompared)]
    assert found == [
        NotCompared("received", "no time is left"),
        NotCompared("sent", "no time is left"),
    ]


def test_memory_of_another_size_is_refused_and_given_back(attach, kernel):
    spec = IvshmemDevice(id="vfio0", source=CARD, destination=OTHER_CARD)
    with pytest.raises(PrerequisiteMissing, match=f"^vfio0: BAR 2 of {CARD} has {SIZE} bytes"):
        attach(Side.SOURCE, spec)
    assert kernel.state(CARD) == ("nic", "(null)")


def test_debugfs_that_is_not_mounted_is_one_line(attach, driver):
    driver.root.rename(driver.root.with_name("elsewhere"))
    with pytest.raises(PrerequisiteMissing, match="mount debugfs, as root"):
        attach(Side.SOURCE)


def test_pieces_of_the_pattern_fit_together():
    whole = pattern(3)(0, 3 << 20)
    read = pattern(3)
    assert whole == b"".join(read(at, 1 << 20) for at in range(0, 3 << 20, 1 << 20))
    assert whole[: 1 << 20] != whole[1 << 20 : 2 << 20]
    assert whole != pattern(4)(0, 3 << 20)


def test_this_machine_has_none():
    assert IvshmemDevices.is_missing_here()
