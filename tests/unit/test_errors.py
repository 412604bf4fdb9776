"""The exception tree is as drawn."""

import inspect
import re

from harness import errors
from harness.errors import HarnessError, QmpError, VMError

CLASSES = [
    error
    for _, error in inspect.getmembers(errors, inspect.isclass)
    if error.__module__ == errors.__name__
]


def drawn_tree() -> dict[str, str]:
    """Class -> base, as the picture in the module's docstring has it."""
    parents: dict[int, str] = {}
    tree = {}
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"    ([|` ]*(?:\+--|`--) )?(\w+)(?= {2,}\S)", line)
        if found is None:
            continue
        depth = len(found[1] or "") // 4
        parents[depth] = found[2]
        if depth:
            tree[found[2]] = parents[depth - 1]
    return tree


def test_tree_in_the_docstring_is_the_tree():
    real = {error.__name__: error.__bases__[0].__name__ for error in CLASSES}
    assert real.pop("HarnessError") == "Exception"
    assert drawn_tree() == real


def test_one_handler_catches_everything():
    assert all(issubclass(error, HarnessError) for error in CLASSES)


def test_qmp_error_keeps_what_qemu_said():
    error = QmpError("migrate", "GenericError", "There's a migration process in progress")
    assert isinstance(error, VMError)
    assert (error.command, error.error_class) == ("migrate", "GenericError")
    assert error.desc == "There's a migration process in progress"
    assert str(error) == "migrate: There's a migration process in progress"
