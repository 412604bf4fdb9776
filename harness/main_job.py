"""The **main job**: what ``vfio-multifd run`` runs when it is given no scenario.

A series of small scenarios which together ask about every requirement that can be judged
without damage on the way: order, statistics, settings.  Each is here because of what its
comment says; take one out and a requirement is judged less.
"""

from harness.scenario import (
    MIB,
    EmulatedDevice,
    LoadBehaviour,
    OnOffAuto,
    SaveBehaviour,
    Scenario,
    Transport,
)

_SMALL = 2 * MIB + 17
"""Three data packets, the last one odd."""


def _device(number: int = 0, **fields: object) -> EmulatedDevice:
    return EmulatedDevice(**{"id": f"vfio{number}", "seed": number + 1, **fields})  # type: ignore[arg-type]


def _sized(name: str, size: int) -> Scenario:
    # No state at all would make QEMU ask for a buffer of no bytes: it is told of one.
    reported = None if size else MIB
    return Scenario(name=name, devices=(_device(size=size, reported_size=reported),))


SCENARIOS: tuple[Scenario, ...] = (
    # Two index spaces at once, many packets on several channels: the plain case.
    Scenario(name="two-devices", devices=(_device(0), _device(1))),
    # Sizes at which the number of packets changes.
    _sized("no-data", 0),
    _sized("one-byte", 1),
    _sized("one-buffer", MIB),
    _sized("one-byte-more", MIB + 1),
    # The load thread is busy while packets come in, and is given part of each write.
    Scenario(
        name="slow-destination",
        devices=(
            _device(
                size=8 * MIB,
                load=LoadBehaviour(write_sizes=(300_000, 65_536), write_delay_s=0.002),
            ),
        ),
    ),
    # More and smaller packets than the size foretells.
    Scenario(
        name="short-reads",
        devices=(_device(size=4 * MIB, save=SaveBehaviour(read_sizes=(100_000, 1, 300_001))),),
    ),
    # Part of the state goes ahead, on the main channel, while the source runs.
    Scenario(
        name="pre-copy",
        devices=(
            _device(
                size=4 * MIB, pre_copy=True, precopy_initial_bytes=MIB, precopy_dirty_bytes=2 * MIB
            ),
        ),
    ),
    # Fewest and many channels; many devices.
    Scenario(name="one-channel", channels=1, devices=(_device(size=_SMALL),)),
    Scenario(
        name="eight-devices",
        channels=16,
        devices=tuple(_device(number, size=_SMALL) for number in range(8)),
    ),
    # The transfer switched off, not supported, refused: the main channel, or a reason.
    Scenario(name="off", devices=(_device(size=_SMALL, multifd_transfer=OnOffAuto.OFF),)),
    Scenario(
        name="auto-without-multifd",
        multifd=False,
        devices=(_device(size=_SMALL, multifd_transfer=OnOffAuto.AUTO),),
    ),
    Scenario(name="on-without-multifd", multifd=False, devices=(_device(size=_SMALL),)),
    Scenario(
        name="compression-auto",
        devices=(_device(size=_SMALL, multifd_transfer=OnOffAuto.AUTO),),
        parameters={"multifd-compression": "zlib"},
    ),
    Scenario(
        name="compression-on",
        devices=(_device(size=_SMALL),),
        parameters={"multifd-compression": "zlib"},
    ),
    Scenario(
        name="mapped-ram",
        devices=(_device(size=_SMALL, multifd_transfer=OnOffAuto.AUTO),),
        capabilities={"mapped-ram": True},
        return_path=False,
        transport=Transport.FILE,
    ),
    Scenario(
        name="machine-9.2",
        machine="pc-q35-9.2",
        devices=(_device(size=_SMALL, multifd_transfer=None),),
    ),
    # A device that cannot migrate: migrate is refused; with enable-migration=on, QEMU is.
    Scenario(
        name="blocked",
        devices=(_device(size=_SMALL, stop_copy=False, enable_migration=OnOffAuto.AUTO),),
    ),
    Scenario(name="refused-at-start", devices=(_device(size=_SMALL, stop_copy=False),)),
)
