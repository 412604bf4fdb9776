"""The memory that may be pinned: limit, capability, and what a guest needs."""

import resource

import pytest

from harness.devices import memlock
from harness.errors import PrerequisiteMissing

MIB = 1 << 20


@pytest.fixture
def process(tmp_path, monkeypatch):
    """Sets a limit, and whether there is CAP_IPC_LOCK."""

    def process(limits, *, capable=False):
        status = tmp_path / "status"
        status.write_text(f"Name:\tpython\nCapEff:\t{1 << 14 if capable else 0:016x}\n")
        monkeypatch.setattr(resource, "getrlimit", lambda _which: limits)
        return status

    return process


def test_limit_is_the_soft_one(process):
    assert memlock.limit(process((8 * MIB, -1))) == 8 * MIB


@pytest.mark.parametrize(("limits", "capable"), [((8 * MIB, 8 * MIB), True), ((-1, -1), False)])
def test_capability_and_unlimited_are_no_limit(process, limits, capable):
    status = process(limits, capable=capable)
    assert memlock.limit(status) is None
    memlock.require(1 << 40, status)


def test_guest_that_fits_is_taken_and_a_larger_one_refused(process):
    status = process((128 * MIB, 128 * MIB))
    memlock.require(64 * MIB, status)
    with pytest.raises(
        PrerequisiteMissing, match=r"^the memlock limit of 128 MiB .* 129 MiB with ROMs"
    ):
        memlock.require(65 * MIB, status)


def test_zero_copy_needs_some_memory(process):
    memlock.require_for_zero_copy(process((4 * MIB, -1)))
    memlock.require_for_zero_copy(process((65536, 65536), capable=True))
    with pytest.raises(PrerequisiteMissing, match=r"^the memlock limit of 64 KiB .*zero-copy-send"):
        memlock.require_for_zero_copy(process((65536, 65536)))


@pytest.mark.parametrize(
    ("hard", "user", "fix"),
    [
        (8, 1000, "ulimit -l 131072 (as root)"),
        (-1, 1000, "ulimit -l 131072"),
        (8, 0, "ulimit -l 131072"),
    ],
)
def test_command_needs_root_if_the_hard_limit_is_too_low(process, monkeypatch, hard, user, fix):
    process((8, hard))
    monkeypatch.setattr("os.geteuid", lambda: user)
    assert memlock.how_to_raise(128 * MIB) == fix
