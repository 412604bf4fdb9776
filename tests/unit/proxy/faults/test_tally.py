"""What has arrived of a device, and what it means."""

from harness.proxy.events import Notified
from harness.proxy.faults.tally import Tallies, key_of
from tests.unit.proxy.playbook import config, packet


def test_state_is_complete_when_all_up_to_the_configuration_have_come() -> None:
    tallies = Tallies()
    for arrived in (packet(1), config(2), packet(1)):
        assert not tallies.see(arrived).is_complete
    assert tallies.see(packet(0)).is_complete


def test_configuration_alone_is_complete() -> None:
    assert Tallies().see(config(0)).is_complete


def test_devices_are_distinguished_by_idstr_and_instance() -> None:
    tallies = Tallies()
    tallies.see(config(0))
    assert not tallies.see(packet(0, slot=3)).is_complete
    assert len(tallies) == 2
    assert key_of(packet(0)) != key_of(packet(0, slot=3))


def test_packet_is_loaded_when_its_last_byte_was_taken() -> None:
    tallies = Tallies()
    for idx, data in ((1, b"22"), (0, b"111")):
        tally = tallies.see(packet(idx, data))
    for value, loaded in ((2, []), (3, [0]), (4, [0]), (5, [0, 1])):
        tallies.hear(Notified("loaded", value, "0000:00:02.0/vfio"))
        assert [idx for idx in (0, 1) if tally.is_loaded(idx)] == loaded


def test_packet_behind_a_gap_is_not_loaded() -> None:
    tallies = Tallies()
    tallies.see(packet(1, b"22"))
    tallies.hear(Notified("loaded", 99))
    assert not tallies.of(packet(1)).is_loaded(1)


def test_event_of_another_device_counts_for_that_one() -> None:
    tallies = Tallies()
    tally = tallies.see(packet(0, b"1"))
    tallies.hear(Notified("loaded", 1, "0000:00:03.0/vfio"))
    assert not tally.is_loaded(0)


def test_phases_stay() -> None:
    tallies = Tallies()
    for name in ("loaded", "switchover", "go"):
        tallies.hear(Notified(name))
    assert tallies.phases == {"switchover"}
