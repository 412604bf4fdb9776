"""An image whose virtme-ng composes a program of the test's instead of a QEMU."""

import shlex
import sys

import pytest

from harness.rig.image import Image

VIRTME = """
import sys
print("some warning")
print({command!r})
"""


@pytest.fixture
def image(tmp_path):
    folder = tmp_path / "rig"
    image = Image(folder, "6.12.0-amd64", "6.12.0-1", "1.42")
    for path in (image.vmlinuz.parent, image.programs, image.virtme / "virtme" / "commands"):
        path.mkdir(parents=True)
    image.vmlinuz.touch()
    return image


@pytest.fixture
def virtme(image):
    """Makes virtme-ng print a command line, or do what a program text says."""

    def virtme(*argv, program=None):
        text = VIRTME.format(command=shlex.join(argv)) if program is None else program
        (image.virtme / "virtme" / "commands" / "run.py").write_text(text)

    return virtme


@pytest.fixture
def python():
    """argv of a Python program."""
    return lambda program: [sys.executable, "-c", program]
