"""SET-6: QEMUs of different versions migrate to each other, with the newest machine type
that both know: every ordered pair of versions that are on this machine.

Two versions are fetched by ``ci/setup.sh qemus``, more by ``vfio-multifd qemu fetch``.
"""

import itertools
from pathlib import Path
from typing import Any

import pytest

from harness.scenario import MIB, EmulatedDevice, OnOffAuto, SaveBehaviour, Scenario
from harness.scenario.fault_plan import MoveToChannel, Order, Reorder
from harness.vm import builds, fetched

SMALL = 3 * MIB + 17


def versions_here(config: pytest.Config) -> dict[str, Path]:
    """Each version of QEMU that is on this machine -> a binary of it."""
    given = [config.getoption(option) for option in ("--qemu", "--qemu-dst")]
    binaries = [builds.find(name) for name in given if name] or [builds.find()]
    found: dict[str, Path] = {}
    for binary in (*binaries, *fetched.binaries(is_plain=True)):
        version = builds.version_of(binary)
        if version >= builds.MINIMUM:
            found.setdefault(".".join(map(str, version)), binary)
    return found


def of_each_version(metafunc: pytest.Metafunc) -> None:
    """``qemu``: a binary of each version that is on this machine."""
    if "qemu" in metafunc.fixturenames:
        found = versions_here(metafunc.config)
        metafunc.parametrize("qemu", [str(path) for path in found.values()], ids=list(found))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """``pair``: every ordered pair of versions."""
    if "pair" not in metafunc.fixturenames:
        return
    found = versions_here(metafunc.config)
    pairs = list(itertools.permutations(found, 2))
    only = ", ".join(found)
    metafunc.parametrize(
        "pair",
        [tuple(found[version] for version in pair) for pair in pairs]
        or [
            pytest.param(
                (),
                marks=pytest.mark.skip(
                    f"only QEMU {only} is here: vfio-multifd qemu fetch gets another version"
                ),
            )
        ],
        ids=[" to ".join(pair) for pair in pairs] or ["no pair"],
    )


def _device(number: int = 0, **fields: Any) -> EmulatedDevice:
    return EmulatedDevice(**{"id": f"vfio{number}", "size": SMALL, "seed": number + 1, **fields})


def _scenario(pair: tuple[Path, Path], *devices: EmulatedDevice, **fields: Any) -> Scenario:
    source, destination = pair
    named = {"name": "versions", "qemu": str(source), "qemu_dst": str(destination)}
    return Scenario(**{**named, "devices": devices or (_device(),), **fields})


@pytest.mark.requirement("SET-6")
@pytest.mark.parametrize("machine", ["q35", "pc"])
async def test_state_goes_over_multifd_to_another_version(judged, kept, pair, machine) -> None:
    run = await judged(_scenario(pair, _device(0), _device(1), machine=machine))
    kept(run, "SET-6", "ORD-1", "ORD-4", "ORD-6", "SET-1", "SET-4", "STA-1", "STA-3")
    source, destination = run.history.manifest.source, run.history.manifest.destination
    assert source.machine == destination.machine == run.history.scenario.machine
    assert source.version != destination.version


@pytest.mark.requirement("SET-6")
async def test_packets_of_another_version_come_in_any_order(judged, kept, pair) -> None:
    faults = (MoveToChannel(), Reorder(order=Order.REVERSED))
    run = await judged(_scenario(pair, _device(size=16 * MIB), faults=faults))
    kept(run, "SET-6", "ORD-1", "ORD-4")


@pytest.mark.requirement("SET-6")
async def test_pre_copy_to_another_version(judged, kept, pair) -> None:
    fields = {"pre_copy": True, "precopy_initial_bytes": MIB, "precopy_dirty_bytes": 2 * MIB}
    kept(await judged(_scenario(pair, _device(**fields))), "SET-6", "ORD-1", "ORD-4", "STA-1")


@pytest.mark.requirement("SET-6")
@pytest.mark.parametrize(
    "fields",
    [{"machine": "pc-q35-9.2"}, {"multifd": False}],
    ids=["machine type 9.2", "no multifd"],
)
async def test_main_channel_to_another_version(judged, kept, pair, fields) -> None:
    transfer = None if "machine" in fields else OnOffAuto.AUTO
    run = await judged(_scenario(pair, _device(multifd_transfer=transfer), **fields))
    kept(run, "SET-6", "SET-1", "ORD-1", *(["SET-3"] if "machine" in fields else []))


@pytest.mark.requirement("SET-6", "SET-9")
@pytest.mark.parametrize("machine", ["q35", "pc-q35-9.2"])
async def test_another_version_acknowledges_the_switchover(judged, kept, pair, machine) -> None:
    fields = {"size": 1000, "save": SaveBehaviour(read_delay_s=0.02), "multifd_transfer": None}
    devices = (
        _device(0, pre_copy=True, precopy_initial_bytes=3 * MIB, **fields),
        _device(1, pre_copy=True, precopy_initial_bytes=2 * MIB + 5, **fields),
        _device(2, **fields),
    )
    ack = {"switchover-ack": True}
    run = await judged(_scenario(pair, *devices, machine=machine, capabilities=ack))
    kept(run, "SET-6", "SET-9", "ORD-1", "SET-1")
    assert run.verdict.finding("SET-9").numbers["initial"] == 5 * MIB + 5
