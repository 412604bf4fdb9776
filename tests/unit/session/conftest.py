"""Programs that pass for QEMUs, and scenarios of them."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from harness.scenario import Scenario
from tests.unit.session import fake_qemu


@pytest.fixture
def no_gdb(monkeypatch):
    """A real backtrace takes its time, and has tests of its own."""
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "gdb" else which(name))


@pytest.fixture
def new_qemu(tmp_path: Path):
    """Writes a program that passes for a QEMU and behaves so."""

    def make(name: str = "qemu", **behaviour: Any) -> str:
        return str(fake_qemu.write(tmp_path / name, **behaviour))

    return make


@pytest.fixture
def scenario(new_qemu):
    """A scenario of two such QEMUs, which behave as each dictionary says."""

    def make(
        source: dict[str, Any] | None = None,
        destination: dict[str, Any] | None = None,
        **fields: Any,
    ) -> Scenario:
        qemus = {
            "qemu": new_qemu("source", **(source or {})),
            "qemu_dst": new_qemu("destination", **(destination or {})),
        }
        plain = {"name": "fake", "devices": (), "trace": (), "deadline_s": 5.0}
        return Scenario(**{**plain, **qemus, **fields})

    return make
