"""The commands of the documentation do what it says: each page, from its first to its last."""

import os
import subprocess
import sysconfig
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = sorted(path for path in (ROOT / "docs").glob("*.md"))
LIMIT_S = 120.0


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


def _run(script: str, folder: Path, qemu: Path) -> subprocess.CompletedProcess[str]:
    (folder / "tests").symlink_to(ROOT / "tests")
    programs = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": programs, "QEMU": str(qemu)},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


@pytest.mark.timeout(TRIES * LIMIT_S)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_of_the_page_work(page: Path, results_dir: Path, qemu_src: Path) -> None:
    script = _script(page)
    for number in range(TRIES):
        folder = results_dir / str(number)
        folder.mkdir()
        done = _run(script, folder, qemu_src)
        if not (done.returncode == 2 and "met a known deviation" in done.stdout):
            assert done.returncode == 0, f"{done.stderr}\n{done.stdout[-4000:]}"
            return
    pytest.xfail(f"a known deviation interrupted each of {TRIES} runs")
