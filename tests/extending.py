"""``docs/extending.md`` carried out: its code blocks, in a copy of the tree.

A numbered step, or a paragraph in it, begins with the path of a file and where in it the next
block goes: ``above `NAME```, ``at the end of `NAME``` or ``after the import of `NAME```; else the
file is a new one.
"""

import ast
import re
import shutil
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "extending.md"
_PLACE = re.compile(
    r"`(?P<path>[\w/]+\.py)`,\s+"
    r"(?:(?P<where>above|at\s+the\s+end\s+of|after\s+the\s+import\s+of)\s+`(?P<name>\w+)`"
    r"|a\s+new\s+file)"
)


def copy_of_the_tree(folder: Path) -> Path:
    """What is needed to run the harness and its unit tests, in ``folder``.

    With the bytecode: to compile all takes seconds, and in a rig much longer.
    """
    unwanted = shutil.ignore_patterns("*.pyc.*")  # another process is writing it
    for name in ("harness", "tests", "ci"):
        shutil.copytree(ROOT / name, folder / name, ignore=unwanted, symlinks=True)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder)
    return folder


def extend(tree: Path, section: str) -> list[Path]:
    """Do in ``tree`` what the page's ``section`` says; the files that are new."""
    made = []
    place: re.Match[str] | None = None
    for token in _section(section):
        if token.type == "inline" and (match := _PLACE.match(token.content)):
            place = match
        elif token.type == "fence" and token.info == "python":
            assert place is not None, f"no place is named for: {token.content}"
            path = tree / place["path"]
            if place["name"] is None:
                assert not path.exists(), f"{path} is there"
                path.write_text(token.content)
                made.append(path)
            else:
                where = " ".join(place["where"].split())
                _insert(path, where, place["name"], token.content)
            place = None
    assert made, f"{PAGE} has no section {section}"
    return made


def _section(title: str) -> list[Token]:
    tokens = MarkdownIt().parse(PAGE.read_text())
    heads = [at for at, token in enumerate(tokens) if token.type == "heading_open"]
    (start,) = (at for at in heads if tokens[at + 1].content == title)
    end = min((at for at in heads if at > start and tokens[at].tag == "h2"), default=len(tokens))
    return tokens[start:end]


def _insert(path: Path, where: str, name: str, code: str) -> None:
    lines = path.read_text().splitlines(keepends=True)
    tree = ast.parse("".join(lines))
    if where == "after the import of":
        (alias,) = (
            alias
            for node in tree.body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
            if alias.name == name
        )
        lines.insert(alias.end_lineno or 0, " " * alias.col_offset + code)
    else:
        (node,) = (node for node in tree.body if name in _assigned(node))
        if where == "above":
            lines.insert(node.lineno - 1, f"{code}\n\n")
        else:
            assert isinstance(node, ast.Assign | ast.AnnAssign)
            value = node.value
            assert value is not None
            assert value.end_lineno is not None
            assert value.end_col_offset is not None
            row, column = value.end_lineno - 1, value.end_col_offset
            column -= isinstance(value, ast.Tuple)  # before its bracket
            line = lines[row]
            lines[row] = f"{line[:column]} {code.rstrip()}{line[column:]}"
    path.write_text("".join(lines))


def _assigned(node: ast.stmt) -> list[str]:
    targets = (
        node.targets
        if isinstance(node, ast.Assign)
        else [node.target]
        if isinstance(node, ast.AnnAssign)
        else []
    )
    return [target.id for target in targets if isinstance(target, ast.Name)]
