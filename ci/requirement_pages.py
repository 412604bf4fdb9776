"""Writes docs/requirements/, a page for each requirement, from the rules that judge it.

    .venv/bin/python ci/requirement_pages.py [FOLDER]

A test compares the pages with what this would write.
"""

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

from harness.check.deviations import Deviation
from harness.check.judge import RULES
from harness.check.rule import Rule, always_applies
from harness.history.builds import BuildFacts
from harness.job.known import known_deviations
from harness.model.expectation import expect
from harness.scenario import Scenario, main_job

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs" / "requirements"
SAVED = ROOT / "tests" / "data" / "violated"
NEW = (99, 0, 0)
"""A version that has every scenario of the main job."""
MOST = 8
"""Names of scenarios on a page, at most."""
BUILD = BuildFacts(path="", version=NEW, version_text="")


def pages() -> dict[str, str]:
    """Name of each file -> its text."""
    jobs = [
        (scenario.name, migration)
        for scenario in main_job.scenarios(NEW)
        for migration in scenario.migrations()
    ]
    found = {f"{rule.id}.md": "\n".join(_page(rule, jobs)) + "\n" for rule in RULES}
    return {"README.md": "\n".join(_index()) + "\n", **found}


def _index() -> Iterator[str]:
    yield "# Requirements"
    yield ""
    yield "What a correct QEMU does, and how each requirement is judged.  These pages are generated"
    yield "from the rules in `harness/check/rules/` by `ci/requirement_pages.py`."
    yield ""
    yield "| id | what a correct QEMU does | known deviations |"
    yield "|---|---|---|"
    for rule in RULES:
        yield f"| [{rule.id}]({rule.id}.md) | {rule.title} | {len(_known(rule)) or ''} |"


def _page(rule: Rule, jobs: list[tuple[str, Scenario]]) -> Iterator[str]:
    yield f"# {rule.id}: {rule.title}"
    yield ""
    yield from _documented(rule)
    yield "## When it is judged"
    yield ""
    yield _where(rule, jobs)
    yield ""
    yield from _conditions("UNKNOWN unless", rule.needs)
    yield from _conditions("Never VALID unless", rule.trusts)
    yield "## Known deviations"
    yield ""
    yield from _deviations(rule)
    if (SAVED / rule.id).is_dir():
        yield "## What a violation looks like"
        yield ""
        yield "```"
        yield f"vfio-multifd recheck tests/data/violated/{rule.id}"
        yield "```"
        yield ""
    yield "[All requirements](README.md)"


def _where(rule: Rule, jobs: list[tuple[str, Scenario]]) -> str:
    if rule.skip_reason_of is not always_applies:
        return "In every run where it applies."
    applies = {
        name
        for name, scenario in jobs
        if not rule.skip_reason(scenario, expect(scenario, BUILD, BUILD))
    }
    names = [name for name in dict.fromkeys(name for name, _ in jobs) if name in applies]
    if not names:
        return "In no scenario of the main job: it needs a scenario of your own."
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return f"In the main job (`vfio-multifd run`): {', '.join(names[:MOST])}{more}."


def _documented(rule: Rule) -> Iterator[str]:
    """What the rule says of itself, or its file does, and what judges it."""
    where = Path(inspect.getfile(rule.judge))
    own = [rule.about] if rule.about else []
    for text in (*own, _docstring(where)):
        yield inspect.cleandoc(text).removeprefix(f"{rule.id}: ").replace("``", "`")
        yield ""
    yield f"Judged by `{where.resolve().relative_to(ROOT)}`."
    yield ""


def _docstring(path: Path) -> str:
    code = compile(path.read_text(), str(path), "exec")
    return next((text for text in code.co_consts if isinstance(text, str)), "")


def _conditions(words: str, assumptions: tuple[object, ...]) -> Iterator[str]:
    if assumptions:
        yield f"{words}: {'; '.join(str(getattr(one, 'value', one)) for one in assumptions)}."
        yield ""


def _deviations(rule: Rule) -> Iterator[str]:
    known = _known(rule)
    if not known:
        yield "None."
        yield ""
        return
    yield "| case | QEMU | cause | `vfio-multifd repro` |"
    yield "|---|---|---|---|"
    for deviation in known:
        often = ", intermittent" if deviation.intermittent else ""
        yield (
            f"| {deviation.case} | {deviation.versions}{often} | {deviation.cause} "
            f"| `{deviation.name}` |"
        )
    yield ""


def _known(rule: Rule) -> list[Deviation]:
    return [deviation for deviation in known_deviations() if deviation.requirement == rule.id]


def write(folder: Path) -> None:
    """Write all pages into ``folder``, and remove those of requirements that are gone."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = pages()
    for path in folder.glob("*.md"):
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS)
