"""What a device did, as it or its driver saw it.

QEMU has no part in these records: they are what its own trace is compared with.
"""

from typing import Literal

from harness.history.records import Body


class Arc(Body, frozen=True):
    """VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE was set."""

    state: str
    """The state that was asked for: its name in ``vfio_device_mig_state``, else its number."""
    path: list[str]
    """The states that the device went through, the last included."""
    errno: int
    """0: done."""


class DataFd(Body, frozen=True):
    """An arc has opened a data_fd."""

    direction: Literal["saving", "resuming"]
    mode: Literal["memfd", "supervised"]
    """Of ``memfd`` no read or write is seen."""


class DataFdError(Body, frozen=True):
    """A change of state has given no data_fd where one was due, or one where none was."""

    state: str
    """The state that was asked for."""
    gives: Literal["none", "extra"]


class Read(Body, frozen=True):
    """QEMU read from a supervised data_fd."""

    offset: int
    """Bytes from the start of the state."""
    asked: int
    """Bytes that QEMU wanted."""
    got: int
    """Bytes that it got."""
    errno: int
    """0: done."""


class Write(Body, frozen=True):
    """QEMU wrote to a supervised data_fd."""

    offset: int
    """Bytes from the start of the state."""
    asked: int
    """Bytes that QEMU gave."""
    got: int
    """Bytes that the device took."""
    errno: int
    """0: done."""


class Sent(Body, frozen=True):
    """The state that the source's device holds out, all of it; recorded after the migration."""

    bytes: int
    digest: str
    """xxh3_128, hex."""


class Received(Body, frozen=True):
    """The state that the destination's device was given; recorded after the migration."""

    bytes: int
    digest: str
    """xxh3_128, hex."""
    expected_bytes: int
    """What the source's device holds out; -1 if that is not known."""
    expected_digest: str
    first_difference: int
    """Offset in bytes; -1 if there is none."""


class NotCompared(Body, frozen=True):
    """``sent`` or ``received`` is missing."""

    what: Literal["sent", "received"]
    why: str


class Config(Body, frozen=True):
    """Registers that the device itself has, in PCI configuration space; at the end of the run."""

    command: int
    scratch: str
    """Hex."""


class Bound(Body, frozen=True):
    """A PCI function is passed through."""

    address: str
    """Of the host."""
    kind: str
    """``vendor:device``, hex."""
    driver: str
    """The VFIO driver that has it now."""
    found_with: str
    """The driver that had it before; empty if none had."""
    group: str
    """Device file of its IOMMU group."""
    iommufd: bool
    """Whether it is opened by iommufd; else by its group."""


class Created(Body, frozen=True):
    """An mdev device was made."""

    uuid: str
    type: str
    parent: str
    group: str
    """Device file of its IOMMU group."""


class Abilities(Body, frozen=True):
    """What the kernel's driver says that the device can do; each is a flag of linux/vfio.h."""

    stop_copy: bool
    p2p: bool
    pre_copy: bool
    dma_logging: bool
    iommu_tracking: bool = False


class DmaWrite(Body, frozen=True):
    """The device has written all of its pages by DMA (``dma`` of the scenario)."""

    number: int
    """From 1; each page begins with it."""
    moment: str
    """What it was done at."""
    pages: int
    logged: bool
    """Whether a log was kept then."""
    unmapped: int = 0
    """Pages that QEMU has not mapped: they were not written."""
    zeros: bool = False
    """Whether it wrote zeros, and no number."""


class DmaLog(Body, frozen=True):
    """VFIO_DEVICE_FEATURE_DMA_LOGGING_START was set, of a device with ``dma``."""

    page_size: int
    count: int
    """How many ranges QEMU gave."""
    ranges: list[tuple[int, int]]
    """Address and length of each."""
    mapped: list[tuple[int, int]]
    """The same of all that the device could write then."""
    errno: int
    """0: done."""
    by: Literal["device", "iommu"] = "device"
    """Who keeps it.  An IOMMU's has no ranges: it was IOMMU_HWPT_SET_DIRTY_TRACKING."""


class LogCall(Body, frozen=True):
    """DMA_LOGGING_STOP, or a DMA_LOGGING_REPORT that had pages or failed."""

    call: Literal["report", "stop"]
    errno: int
    """0: done."""
    pages: int
    """How many were reported."""
    is_running: bool
    """Whether the device was running, so that it could write on."""


class DmaPages(Body, frozen=True):
    """The pages that a device writes by DMA, as QEMU has them after the migration."""

    pages: dict[str, tuple[int, str]]
    """Address, hex -> number of the write that left it, digest (xxh3_64, hex)."""


class SizeAnswer(Body, frozen=True):
    """An answer to a question for a size, of a device with ``misreports``."""

    query: Literal["MIG_DATA_SIZE", "PRECOPY_INFO"]
    number: int
    """Which one to this question, from 1."""
    errno: int
    """0: done."""
    sizes: list[int]
    """In the order of linux/vfio.h: ``stop_copy_length``, or ``initial_bytes`` and
    ``dirty_bytes``."""
    left: int
    """Bytes of its state that had not been read."""
    planned: bool
    """Whether it is one of the scenario's ``misreports``."""


class Armed(Body, frozen=True):
    """QEMU has set MSI-X interrupts (VFIO_DEVICE_SET_IRQS) of a device with ``interrupts``."""

    vectors: list[int]
    """Those that have an eventfd now."""
    errno: int
    """0: done; else nothing has changed."""


class Fired(Body, frozen=True):
    """The device has fired an interrupt: it has signalled the eventfd of the vector."""

    vector: int
    at: str
    """When (``interrupts.fires`` of the scenario)."""
    armed: bool
    """Whether QEMU had armed the vector; else the interrupt is pending until it does."""


class Reset(Body, frozen=True):
    """VFIO_DEVICE_RESET."""


class Lie(Body, frozen=True):
    """A device that lies has loaded its state."""

    lie: str
    """Its kind (``load.lie`` of the scenario)."""
    at: int
    """Which buffer."""
    changed: bool
    """Whether it changed anything: a state may be too short for it."""


class ServerFault(Body, frozen=True):
    """The server of a vfio-user device did something wrong, as planned."""

    command: str
    """Of the message."""
    nth: int
    """How many of the command came before it."""
    does: str


class Ioctl(Body, frozen=True):
    """How often one ioctl was answered; recorded after QEMU's end."""

    ioctl: str
    count: int


class PrecopyInfoV2(Body, frozen=True):
    """VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2 was set."""

    errno: int
    """It was answered with.  0: from now on ``vfio_precopy_info.flags`` is valid."""


class PrecopyChanged(Body, frozen=True):
    """What a source's device has for pre-copy has changed (``precopy_changes``)."""

    number: int
    """Which of the changes of the scenario, from 0."""
    position: int
    """Bytes that were read before it."""
    initial_bytes: int
    """That are left."""
    dirty_bytes: int
    """That are left."""
    is_reinit: bool
    """Whether the initial bytes are new."""


class Reinit(Body, frozen=True):
    """VFIO_MIG_GET_PRECOPY_INFO was answered with VFIO_PRECOPY_INFO_REINIT."""

    position: int
    """Bytes that were read before it."""
    initial_bytes: int


class UnknownIoctl(Body, frozen=True):
    """An ioctl, or a VFIO_DEVICE_FEATURE, that the emulation does not have."""

    number: str
    """Its name in the uAPI headers, else its number; with the feature's."""
    errno: int
    """It was answered with."""
