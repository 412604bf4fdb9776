"""The commands of the documentation do what it says: each page, from its first to its last."""

import os
import signal
import subprocess
import sysconfig
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from harness.errors import CannotRunHere
from harness.vm import lacking

ROOT = Path(__file__).parents[2]
PAGES = sorted(path for path in (ROOT / "docs").glob("*.md"))
LIMIT_S = 240.0


def _script(page: Path) -> str:
    """The blocks marked ``sh``, with what tells where one has failed."""
    lines = ["set -euE -o pipefail", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT"]
    for token in MarkdownIt().parse(page.read_text()):
        if token.type == "fence" and token.info == "sh":
            assert token.map is not None
            where = f"{page.name}, the block from line {token.map[0] + 1} on"
            lines += [f"trap 'echo \"{where}: status $?\" >&2' ERR", token.content]
    return "\n".join(lines)


TRIES = 3


def _run(script: str, folder: Path, qemu: Path) -> tuple[int | None, str]:
    """Exit status (None: it did not end in time) and output; nothing of it runs on."""
    (folder / "tests").symlink_to(ROOT / "tests")
    programs = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
    shell = subprocess.Popen(
        ["bash", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": programs, "QEMU": str(qemu)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = shell.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        # What it has started in the background is of its session; each ends its QEMU.
        os.killpg(shell.pid, signal.SIGTERM)
        return None, shell.communicate()[0]
    return shell.returncode, output


@pytest.mark.timeout(TRIES * LIMIT_S)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_of_the_page_work(page: Path, results_dir: Path, qemu_src: Path) -> None:
    script = _script(page)
    if '-- "$QEMU"' in script:  # by hand it boots QEMU's own firmware
        try:
            lacking.of_firmware(qemu_src, ["bios-256k.bin"])
        except CannotRunHere as error:
            pytest.skip(f"cannot run here: {error}")
    for number in range(TRIES):
        folder = results_dir / str(number)
        folder.mkdir()
        status, output = _run(script, folder, qemu_src)
        if not (status == 2 and "met a known deviation" in output):
            assert status == 0, output[-4000:]
            return
    pytest.xfail(f"a known deviation interrupted each of {TRIES} runs")
