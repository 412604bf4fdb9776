"""The tree keeps the shape that the README shows (who may import whom: import-linter)."""

import ast
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HARNESS = ROOT / "harness"
UNIT_TESTS = ROOT / "tests" / "unit"
MAX_LINES = 600  # one thought is not split for a number: most files have a quarter of this

SOURCES = sorted(path for path in HARNESS.rglob("*.py") if "__pycache__" not in path.parts)
FOLDERS = sorted({path.parent for path in SOURCES})


def in_tree(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def mirror(source: Path) -> Path:
    """The test file of a source file: the same path, ``test_`` before its name."""
    name = f"test_{source.stem.strip('_')}.py"
    return UNIT_TESTS / source.relative_to(HARNESS).with_name(name)


def test_every_folder_says_what_it_is():
    missing = []
    for folder in FOLDERS:
        init = folder / "__init__.py"
        if not init.exists() or not ast.get_docstring(ast.parse(init.read_bytes())):
            missing.append(in_tree(init))
    assert not missing, f"no docstring: {missing}"


def test_no_file_has_a_name_that_says_nothing():
    vague = re.compile(r"(^|_)(utils?|helpers?|common|managers?|misc)(_|$)")
    names = [*SOURCES, *FOLDERS]
    assert not [in_tree(path) for path in names if vague.search(path.stem)]


def imports(path: Path) -> set[str]:
    """Modules, and names of modules, that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or ""} | {f"{node.module}.{each.name}" for each in node.names}
    return found


def test_every_source_file_is_tested():
    """By the test file of its path, by one that imports it, or with its neighbours."""
    used = {name for path in sorted((ROOT / "tests").rglob("*.py")) for name in imports(path)}
    untested = []
    for path in SOURCES:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if path.name == "__init__.py" or mirror(path).exists() or name in used:
            continue
        if not any(name in imports(neighbour) for neighbour in path.parent.glob("*.py")):
            untested.append(in_tree(path))
    assert not untested, "no test imports these, and none is at mirror()"


def test_no_source_file_is_too_long():
    lengths = {in_tree(path): len(path.read_text().splitlines()) for path in SOURCES}
    assert not {name: length for name, length in lengths.items() if length > MAX_LINES}


def imported(tree: ast.AST) -> ast.AST:
    """Without what only mypy sees: it has the types of ``typing_extensions`` itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    return tree


def test_every_library_that_is_imported_is_declared():
    """In pyproject.toml; that another one brings it along is no promise."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    declared = {
        re.split(r"[^\w.-]", requirement)[0].lower().replace("-", "_").removesuffix("_framework")
        for requirement in [*project["dependencies"], *extras["test"], *extras["avocado"]]
    }
    undeclared = set()
    for path in SOURCES:
        for node in ast.walk(imported(ast.parse(path.read_bytes()))):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            else:
                continue
            for module in modules:
                top, second = [*module.split("."), ""][:2]
                known = {"harness", *sys.stdlib_module_names, *declared}
                if not {top, f"{top}.{second}"} & known:
                    undeclared.add(f"{in_tree(path)}: {module}")
    assert not undeclared
