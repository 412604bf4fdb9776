"""docs/requirements/ is what ci/requirement_pages.py makes of today's rules."""

from ci import requirement_pages
from harness.check.judge import RULES


def test_pages_are_those_of_the_rules():
    there = {path.name: path.read_text() for path in requirement_pages.DOCS.iterdir()}
    made = requirement_pages.pages()
    assert there.keys() == made.keys()
    stale = [name for name in made if made[name] != there[name]]
    assert not stale, "run .venv/bin/python ci/requirement_pages.py"


def test_every_rule_has_a_page_that_says_where_it_is():
    pages = requirement_pages.pages()
    for rule in RULES:
        assert f"# {rule.id}: {rule.title}" in pages[f"{rule.id}.md"]
        assert "Judged by `harness/check/" in pages[f"{rule.id}.md"]


def test_writing_removes_the_page_of_a_requirement_that_is_gone(tmp_path):
    (tmp_path / "OLD-1.md").write_text("gone")
    requirement_pages.write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == requirement_pages.pages().keys()
