"""Facts about one QEMU binary, as ``vm.builds`` finds them before the run."""

import msgspec


class BuildFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One QEMU binary, as this run used it."""

    path: str
    version: tuple[int, int, int]
    version_text: str
    """What ``--version`` says, packaging suffix included."""
    machine: str = ""
    """The versioned machine type that this run used, e.g. ``pc-q35-10.0``; empty if unknown."""
    vfio_pci_properties: tuple[str, ...] = ()
    """Properties of ``vfio-pci``; empty if not asked for."""
    capabilities: tuple[str, ...] = ()
    """Names of migration capabilities; empty if not asked for."""
    trace_events: bool = True
    """Whether the binary was built with the log trace backend."""
    sanitizers: tuple[str, ...] = ()
    """Those that it was built with: ``address``, ``undefined``, ``thread``."""
