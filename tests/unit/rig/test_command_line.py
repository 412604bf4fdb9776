"""What virtme-ng is asked, and what becomes of its answer."""

import itertools
import json
from pathlib import Path

import pytest

from harness.errors import PrerequisiteMissing, UsageError
from harness.rig.command_line import INIT, INITRAMFS, Machine, compose

QEMU = Path("/opt/qemu/qemu-system-x86_64")
ECHO = """
import json, os, shlex, sys
print(shlex.join([json.dumps(sys.argv[1:]), os.environ["PATH"], os.environ["TMPDIR"]]))
"""


@pytest.fixture
def ask(image, virtme, tmp_path):
    """What virtme-ng is asked for a rig in tmp_path/run."""
    virtme(program=ECHO)
    folder = tmp_path / "run"
    folder.mkdir()

    def ask(*, has_kvm=False, writable=(), ports=None):
        machine = Machine(qemu=QEMU, has_kvm=has_kvm, writable=writable)
        argv, *environment = compose(image, machine, folder, ["sh", "a b"], ports or {})
        return json.loads(argv), environment

    return ask


def test_it_is_asked_for_this_kernel_on_this_qemu(ask, image, tmp_path):
    asked, (path, tmpdir) = ask()
    pairs = dict(itertools.pairwise(asked))
    assert pairs["--kimg"] == str(image.vmlinuz)
    assert pairs["--qemu-bin"] == str(QEMU)
    assert pairs["--script-sh"] == "sh 'a b'"
    assert pairs["--save-initramfs"] == str(tmp_path / "run" / INITRAMFS)
    assert {"--dry-run", "--show-command", "--force-9p"} <= set(asked)
    assert path.startswith(f"{image.programs}:")
    assert tmpdir == str(tmp_path / "run")


def test_root_stays_read_only_and_folders_are_writable_once(ask, tmp_path):
    inner = tmp_path / "out" / "inner"
    inner.mkdir(parents=True)
    asked, _ = ask(writable=(inner, tmp_path / "out", tmp_path / "run"))
    assert "--rw" not in asked
    writable = [word for word in asked if word.startswith("--rwdir")]
    assert writable == [f"--rwdir={tmp_path / 'out'}", f"--rwdir={tmp_path / 'run'}"]


def test_kvm_only_where_it_is_wanted(ask):
    assert "--disable-kvm" in ask()[0]
    assert "--disable-kvm" not in ask(has_kvm=True)[0]


def test_kernel_does_not_judge_its_timer_on_a_busy_machine(ask):
    asked, _ = ask()
    assert asked[asked.index("no_timer_check") - 1] == "--kopt"


def test_kernel_starts_our_init_which_becomes_that_of_virtme_ng(image, virtme, tmp_path):
    virtme(program="print(\"qemu -append 'console=ttyS0 init=/vng/init' -device x\")")
    machine = Machine(qemu=QEMU, has_kvm=False)
    argv = compose(image, machine, tmp_path, ["true"], {})
    assert argv == [
        "qemu",
        "-append",
        f"console=ttyS0 init=/bin/sh -- {INIT} /vng/init",
        "-device",
        "x",
    ]
    assert INIT.exists()


def test_network_cards_are_behind_an_iommu(ask):
    asked, _ = ask()
    options = dict(zip(asked[1:], asked, strict=False))
    assert options["intel-iommu,intremap=on,caching-mode=on"] == "-device"
    cards = [word for word in asked if word.startswith("e1000e,")]
    assert [card.split(",")[1] for card in cards] == ["addr=0x10", "addr=0x11"]
    assert "kernel-irqchip=split" not in asked
    assert "kernel-irqchip=split" in ask(has_kvm=True)[0]


def test_functions_of_ivshmem_follow_the_cards_each_with_its_own_memory(ask):
    asked, _ = ask()
    functions = [word for word in asked if word.startswith("ivshmem-plain,")]
    memories = [word for word in asked if word.startswith("memory-backend-memfd,")]
    assert [function.split(",")[2] for function in functions] == [
        f"addr={slot:#x}" for slot in range(0x12, 0x18)
    ]
    assert len(set(memories)) == len(memories) == len(functions)
    sizes = [memory.split(",")[2] for memory in memories]
    assert sizes == [f"size={mib << 20}" for mib in (16, 16, 16, 16, 64, 64)]


def test_root_is_there_once_more_read_only(ask):
    (option,) = (word for word in ask()[0] if word.startswith("local,id=rig.root,path=/,"))
    assert "readonly=on" in option.split(",")


def test_ports_are_files(ask):
    asked, _ = ask(ports={"rig.stdout": "/proc/self/fd/9"})
    assert asked[-4:] == [
        *("-chardev", "file,id=rig.stdout,path=/proc/self/fd/9,append=on"),
        *("-device", "virtserialport,name=rig.stdout,chardev=rig.stdout"),
    ]


@pytest.mark.parametrize("name", ["a b", "a,b", "a=b", "a'b"])
def test_folder_that_no_command_line_can_name_is_refused(ask, tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    with pytest.raises(UsageError, match="must not contain spaces, quotes"):
        ask(writable=(folder,))


def test_refusal_of_virtme_ng_is_reported_in_its_words(ask, virtme):
    virtme(program="import sys; sys.exit('first\\nno such thing')")
    with pytest.raises(PrerequisiteMissing, match=r"^virtme-ng 1\.42 failed: no such thing$"):
        ask()


def test_virtme_ng_without_output_is_reported(ask, virtme):
    virtme(program="")
    with pytest.raises(PrerequisiteMissing, match="failed: status 0"):
        ask()
