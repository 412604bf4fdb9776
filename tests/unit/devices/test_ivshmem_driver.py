"""What the rig's driver for ivshmem has in debugfs."""

import re
from pathlib import Path

import pytest

from harness.devices.ivshmem_driver import Driver, event_of
from harness.errors import HarnessError
from harness.history.device import Arc, Read, Reset, Write
from harness.scenario import DriverParameters
from tests.unit.devices.ivshmem_debugfs import FakeDriver

SOURCE = Path("images/rig/modules/ivshmem_vfio_pci/ivshmem_vfio_pci.c")


@pytest.fixture
def fake(tmp_path):
    return FakeDriver(tmp_path, "a", size=3 << 20)


@pytest.fixture
def driver(fake):
    return Driver("a", fake.root)


def test_parameters_are_numbers(fake, driver):
    driver.set("read_most", 4096)
    assert fake.get("a", "read_most") == driver.get("read_most") == 4096


def test_bar_is_read_and_written_where_it_is_asked_for(fake, driver):
    driver.write(1 << 20, b"here")
    assert driver.size == 3 << 20
    assert driver.read((1 << 20) - 1, 6) == b"\xffhere\xff"
    assert fake.bar("a").index(b"here") == 1 << 20


@pytest.mark.parametrize(
    ("line", "body"),
    [
        ("7 arc 3 0x53 0 0", Arc(state="STOP_COPY", path=["RUNNING_P2P", "STOP_COPY"], errno=0)),
        ("7 arc 4 0 0 5", Arc(state="RESUMING", path=[], errno=5)),
        ("7 read 32 0x100000 4096 0", Read(offset=32, asked=1 << 20, got=4096, errno=0)),
        ("7 write 0 0x20 0 5", Write(offset=0, asked=32, got=0, errno=5)),
        ("7 reset 0 0 0 0", Reset()),
    ],
)
def test_calls_are_records(line, body):
    assert event_of(line) == (7, body)


def test_call_that_nobody_knows_is_an_error():
    with pytest.raises(HarnessError, match="unknown event: '7 wrote 0 0 0 0'"):
        event_of("7 wrote 0 0 0 0")


def test_log_that_has_lost_something_is_none(fake, driver):
    fake.set("a", "events", "1 reset 0 0 0 0\n2 read 0 0x20 32 0")
    assert [t_ns for t_ns, _ in driver.events()] == [1, 2]
    fake.set("a", "events_lost", 1)
    assert driver.events() == []


def test_driver_logs_no_other_calls():
    """And what is read here has the names that it has there."""
    text = SOURCE.read_text()
    logged = set(re.findall(r'ivshmem_log\(ivdev, "(\w+)"', text))
    assert logged == {"arc", "read", "write", "reset"}
    for name in ("state", "events"):
        assert re.search(rf'debugfs_create_file(_size)?\("{name}"', text)
    for name in ("read_bytes", "written_bytes", "events_lost"):
        assert f"COUNT({name})" in text
    for name in ("migration_flags", "pre_copy_bytes", *DriverParameters.__struct_fields__):
        assert f"PARAM({name})" in text
