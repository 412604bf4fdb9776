"""README and the pages of docs/ fit the program: samples, commands, links."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.job.known import known_deviations

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def printed(*arguments: str) -> str:
    """Standard output of a command, 80 columns wide."""
    return subprocess.run(
        [sys.executable, "-m", "harness.cli", *arguments],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    ).stdout


def test_finding_is_what_recheck_prints():
    sample = re.search(r"```\n(ORD-1 VIOLATED .*?)```", README, re.DOTALL)
    assert sample is not None
    assert sample[1] in printed("recheck", "tests/data/violated/ORD-1/lost-buffer")


def test_table_of_commands_has_each_command():
    table = README[README.index("## Commands") : README.index("## Track record")]
    commands = re.findall(r"^    (\w+)(?: |$)", printed("--help"), re.MULTILINE)
    assert len(commands) > 10
    assert not [name for name in commands if not re.search(rf"`{name}\b", table)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files_and_headings(page):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        path, _, heading = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE)
            slugs = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
            assert heading in slugs, target


def test_track_record_has_the_findings_that_repro_knows():
    rows = README[README.index("## Track record") : README.index("## Speed")]
    known = known_deviations()
    areas = "|".join({each.requirement.partition("-")[0].lower() for each in known})
    names = set(re.findall(rf"`((?:{areas})-[a-z0-9-]+)`(?=,| \|$)", rows, re.MULTILINE))
    assert len(names) > 40
    assert not names - {each.name for each in known}
    requirements = {each.requirement for each in known}
    in_a_row = {each for each in requirements if re.search(rf"\b{each}\b", rows)}
    in_row_of_ref_1 = {f"REF-{number}" for number in (2, 3, 4, 5, 9, 12)}
    assert "| REF-1 to 5, 9, 10, 12, LIF-2 |" in rows
    assert requirements == in_a_row | in_row_of_ref_1
