"""Expected counts of a test suite, one TOML file for each kind of machine.

::

    [machine]                      # the facts that make this kind: all must be equal
    source = "10.0"
    builds = ["10.0", "11.1"]

    [tests.functional]             # the tests below tests/functional
    known_deviation = 80           # expected failures that show in each run
    skipped = 8
    intermittent_at_most = 20

A skip must not go unseen, nor a known deviation that shows no more: these are exact.  How many
tests there are is not: adding one needs no new file.  An intermittent known deviation makes an
expected failure of a test that else passes, or shows a deviation of the other sort: there are
at most ``intermittent_at_most`` of them, and so many may be missing from ``known_deviation``.
"""

import math
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from harness.errors import UsageError

Facts = dict[str, str | bool | list[str]]
"""What is so on a machine, by name."""

UPDATE = "make expected"
_BOUND_FIRST = 10
_BOUND_FACTOR = 3
"""A bound that was passed, or is new, becomes so many times what was seen."""


class Counts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What became of the tests of one folder."""

    known_deviation: int
    skipped: int
    intermittent: int = 0
    """Seen only; a file has a bound in its place."""


class Expected(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is expected of the tests of one folder."""

    known_deviation: int
    skipped: int
    intermittent_at_most: int = 0

    def differences(self, seen: Counts) -> Iterator[str]:
        """What is not as expected, in words; nothing if all is."""
        if seen.skipped != self.skipped:
            yield f"{seen.skipped} skipped, not {self.skipped}"
        least = self.known_deviation - seen.intermittent  # those may have taken some of them
        if not least <= seen.known_deviation <= self.known_deviation:
            but = f" with {seen.intermittent} intermittent" if seen.intermittent else ""
            yield f"{seen.known_deviation} known deviations{but}, not {self.known_deviation}"
        if seen.intermittent > self.intermittent_at_most:
            yield (
                f"{seen.intermittent} intermittent deviations, "
                f"not at most {self.intermittent_at_most}"
            )


class ExpectedFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file."""

    machine: Facts
    tests: dict[str, Expected] = {}

    def is_for(self, facts: Facts) -> bool:
        """Whether ``facts`` are those of its kind of machine."""
        return all(name in facts and facts[name] == told for name, told in self.machine.items())


def load(path: Path) -> ExpectedFile:
    """The file at ``path``.

    :raise UsageError: it cannot be read, or is no such file
    """
    try:
        return msgspec.convert(tomllib.loads(path.read_text()), type=ExpectedFile)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, msgspec.ValidationError) as error:
        raise UsageError(f"{path}: no expected counts: {error}") from error


def find(path: Path, facts: Facts) -> tuple[Path, ExpectedFile] | None:
    """The file for this kind of machine: ``path``, or of those in the folder ``path``.

    :return: None: the folder has none for it, or is not there
    :raise UsageError: ``path``, or a file in it, cannot be used, or several fit
    """
    if path.suffix != ".toml":
        fitting = [(each, load(each)) for each in sorted(path.glob("*.toml"))]
        fitting = [(each, file) for each, file in fitting if file.is_for(facts)]
        if len(fitting) > 1:
            names = ", ".join(each.name for each, _ in fitting)
            raise UsageError(f"{path}: {names} are all for this machine: {in_words(facts)}")
        return fitting[0] if fitting else None
    file = load(path)
    if not file.is_for(facts):
        raise UsageError(f"{path}: it is for {in_words(file.machine)}; this is {in_words(facts)}")
    return path, file


def updated(before: Expected | None, seen: Counts) -> Expected:
    """What is expected from now on, as ``seen`` in a run without failures.

    An intermittent deviation may have taken a test that shows a known one: as long as that can
    be, their number stays.
    """
    known = seen.known_deviation
    bound = 0
    if before is not None:
        bound = before.intermittent_at_most
        known = max(known, min(before.known_deviation, known + seen.intermittent))
    if seen.intermittent > bound:
        bound = max(_BOUND_FIRST, math.ceil(seen.intermittent * _BOUND_FACTOR))
    return Expected(known_deviation=known, skipped=seen.skipped, intermittent_at_most=bound)


def render(file: ExpectedFile) -> str:
    """The text of ``file``."""
    lines = [f"# Expected counts of the tests on this kind of machine; `{UPDATE}` rewrites them."]
    lines += ["", "[machine]", *(f"{name} = {_value(v)}" for name, v in file.machine.items())]
    for folder, expected in sorted(file.tests.items()):
        fields = msgspec.structs.asdict(expected)
        lines += ["", f"[tests.{folder}]", *(f"{name} = {v}" for name, v in fields.items())]
    return "".join(f"{line}\n" for line in lines)


def in_words(facts: Facts) -> str:
    """``facts`` on one line, as a file has them."""
    return ", ".join(f"{name} = {_value(told)}" for name, told in facts.items())


def _value(value: object) -> str:
    return msgspec.json.encode(value).decode()  # what TOML and JSON write alike
