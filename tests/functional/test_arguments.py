"""``qemu_args``: a vIOMMU, ports and disks in both QEMUs; what QEMU does not accept is said in its
words.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.check.verdict import Outcome
from harness.model.arguments import NOT_WITH_VIOMMU
from harness.scenario import MIB, EmulatedDevice, OnOffAuto, Scenario
from harness.scenario.dma import Dma
from harness.vm import fetched

VIOMMU = ("-device", "intel-iommu,caching-mode=on")
TRACKED = {"dma_logging": False, "iommu_tracking": True}


def scenario(*arguments: str, **fields: Any) -> Scenario:
    device = EmulatedDevice(id="vfio0", size=MIB, **fields)
    return Scenario(name="arguments", qemu_args=arguments, devices=(device,))


def on_build(number: int, wanted: Scenario) -> Scenario:
    """``wanted`` with the oldest build (0), or the newest one (1)."""
    binaries = fetched.binaries(is_plain=True)
    assert len(binaries) > 1, "there is one build only: vfio-multifd qemu fetch"
    binary = str(binaries[number])
    return msgspec.structs.replace(wanted, qemu=binary, qemu_dst=binary)


@pytest.mark.requirement("SET-8")
@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("setting", [OnOffAuto.ON, OnOffAuto.AUTO])
async def test_device_behind_a_viommu_is_refused_with_a_reason(
    judged, kept, number, setting
) -> None:
    run = await judged(on_build(number, scenario(*VIOMMU, enable_migration=setting)))
    kept(run, "RUN", "SET-8")
    assert NOT_WITH_VIOMMU in str(run.verdict.finding("SET-8").numbers["said"])


@pytest.mark.requirement("SET-11")
async def test_viommu_goes_with_devices_that_keep_no_log(judged, kept) -> None:
    wanted = scenario(*VIOMMU, **TRACKED, dma=Dma(pages=8, stride=65))
    run = await judged(on_build(1, wanted))
    kept(run, "RUN", "ORD-1", "SET-11", "DMA-1")


async def test_ports_and_disks_migrate_too(judged, kept, tmp_path) -> None:
    disk = tmp_path / "disk,1.img"
    disk.write_bytes(bytes(MIB))
    run = await judged(
        scenario(
            *("-device", "pcie-root-port,id=rp0,addr=0x10"),
            *("-device", "virtio-rng-pci,bus=rp0"),
            "-blockdev", f"driver=raw,node-name=a,file.driver=file,file.filename={_quoted(disk)}",
            *("-device", "virtio-blk-pci,drive=a,addr=0x11"),
        )
    )  # fmt: skip
    kept(run, "RUN", "ORD-1", "SET-1")


async def test_argument_that_the_model_does_not_know_is_not_judged(judged) -> None:
    run = await judged(scenario("-rtc", "base=localtime"))
    finding = run.verdict.finding("RUN")
    assert finding.outcome is run.verdict.overall is Outcome.UNKNOWN
    assert "argument -rtc base=localtime; the source's status is completed" in finding.sentence


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("-device", "edu,no-such=1"), 4, "edu,no-such=1: Property 'edu.no-such' not found"),
        (("-device", "edu,addr=2"), 4, "slot 2 function 0 not available for vfio-pci"),
        (("--no-such",), 4, "qemu_args: --no-such: invalid option"),
        (("-device", "pcie-root-prt"), 4, "did you mean pcie-root-port?"),
        (("-incoming", "defer"), 4, "qemu_args[0] is '-incoming': the harness sets it"),
        (("-device", "quantum-bus"), 3, "this build has no quantum-bus"),
    ],
)
def test_bad_argument_is_one_line(
    qemu_src: Path, results_dir: Path, arguments, status, words
) -> None:
    given = [f"--qemu-arg={word}" for word in arguments]
    command = [sys.executable, "-m", "harness.cli", "run", "--qemu", str(qemu_src), "--size=1M"]
    done = subprocess.run(
        [*command, "--runs", str(results_dir), "--no-progress", *given],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == status, done
    assert len(done.stderr.splitlines()) <= 2, done.stderr
    assert words in done.stderr


def _quoted(path: Path) -> str:
    return str(path).replace(",", ",,")
