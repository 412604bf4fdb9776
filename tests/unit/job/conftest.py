"""Builds that pass for installed QEMUs."""

from pathlib import Path

import pytest


@pytest.fixture
def build(tmp_path):
    """Makes something that passes for an installed QEMU of a version."""

    def make(version: str = "10.0.0") -> Path:
        folder = tmp_path / version
        (folder / "trace").mkdir(parents=True)
        (folder / "trace" / "trace-events-all").write_text("")
        binary = folder / "qemu-system-x86_64"
        binary.write_text(f"#!/bin/sh\necho QEMU emulator version {version}\n")
        binary.chmod(0o755)
        return binary

    return make
