"""What the lines of kind ``device`` hold."""

import pytest

from harness.errors import HistoryError
from harness.history import Kind, device
from tests.unit.history.lines import read, written


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ({"state": "STOP", "path": ["STOP"], "errno": 0}, device.Arc("STOP", ["STOP"], 0)),
        ({"direction": "saving", "mode": "memfd"}, device.DataFd("saving", "memfd")),
        ({"offset": 0, "asked": 9, "got": 4, "errno": 0}, device.Read(0, 9, 4, 0)),
        ({"offset": 0, "asked": 9, "got": 0, "errno": 19}, device.Write(0, 9, 0, 19)),
        ({"bytes": 4, "digest": "d"}, device.Sent(4, "d")),
        ({"bytes": 4, "digest": "d", "expected_bytes": -1, "expected_digest": "e",
          "first_difference": 2}, device.Received(4, "d", -1, "e", 2)),
        ({"what": "sent", "why": "the run ends"}, device.NotCompared("sent", "the run ends")),
        ({"command": 6, "scratch": "00ff"}, device.Config(6, "00ff")),
        ({"address": "0000:01:00.0", "kind": "15b3:101e", "driver": "mlx5_vfio_pci",
          "found_with": "", "group": "/dev/vfio/3", "iommufd": True},
         device.Bound("0000:01:00.0", "15b3:101e", "mlx5_vfio_pci", "", "/dev/vfio/3", True)),
        ({"uuid": "u", "type": "mtty-2", "parent": "mtty", "group": "/dev/vfio/3"},
         device.Created("u", "mtty-2", "mtty", "/dev/vfio/3")),
        ({}, device.Reset()),
        ({"lie": "wrong_byte", "at": 0, "changed": True}, device.Lie("wrong_byte", 0, True)),
        ({"ioctl": "VFIO_DEVICE_SET_IRQS", "count": 2}, device.Ioctl("VFIO_DEVICE_SET_IRQS", 2)),
        ({"errno": 25}, device.PrecopyInfoV2(25)),
        ({"number": 0, "position": 7, "initial_bytes": 3, "dirty_bytes": 0, "is_reinit": True},
         device.PrecopyChanged(0, 7, 3, 0, True)),
        ({"position": 7, "initial_bytes": 3}, device.Reinit(7, 3)),
        ({"number": "0x7f", "errno": 25}, device.UnknownIoctl("0x7f", 25)),
    ],
)  # fmt: skip
def test_line_is_read_as_its_type_and_written_as_it_was(args, expected):
    assert read(Kind.DEVICE, expected.NAME, **args) == expected
    assert written(expected) == args


def test_driver_of_an_older_kernel_says_nothing_of_its_iommu():
    args = {"stop_copy": True, "p2p": False, "pre_copy": False, "dma_logging": False}
    assert read(Kind.DEVICE, "abilities", **args) == device.Abilities(**args, iommu_tracking=False)


@pytest.mark.parametrize(
    ("name", "args", "words"),
    [
        ("arc", {"state": 9, "path": [], "errno": 22}, "Expected `str`, got `int` - at `$.state`"),
        ("data_fd", {"direction": "sending", "mode": "memfd"}, "Invalid enum value 'sending'"),
        ("read", {"offset": 0, "asked": 9, "got": 4}, "missing required field `errno`"),
    ],
)
def test_line_that_is_not_of_its_type_is_refused(name, args, words):
    with pytest.raises(HistoryError, match=f"h: line 1: device {name}: ") as refused:
        read(Kind.DEVICE, name, **args)
    assert words in str(refused.value)
