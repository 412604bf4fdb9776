"""The trace events of one QEMU build, read from its ``trace-events-all``.

A declaration is ``[disable ]NAME(TYPE ARG, ...) "FORMAT" PRIu64 "MORE"``, one per line
(QEMU's docs/devel/tracing.rst; grammar in scripts/tracetool/__init__.py).  FORMAT is
printf's, so it also defines how to read a printed line back: on first use, an event builds
a regular expression from its format and a reader that turns the match into typed arguments.
"""

import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from harness.errors import TraceError

Arguments = dict[str, int | str]
"""Values by argument name: numbers and pointers are ``int``, ``%s`` and ``%c`` are ``str``."""

_PROPERTIES = {"disable", "vcpu"}
_DECLARATION = re.compile(r"((?:\w+[ \t]+)*)(\w+)\(([^()]*)\)\s*(.*)")
_NAME = re.compile(r"^[ \t]*(?:\w+[ \t]+)*(\w+)\(", re.MULTILINE)
_ARGUMENT = re.compile(r"(\w.*[\s*])(\w+)")
# String literals, and the macros of <inttypes.h> between them.
_FORMAT_PART = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|PRI([diouxX])(?:8|16|32|64|MAX|PTR)\b)')
_ESCAPE = re.compile(r"\\(.)")
_ESCAPED = {'"': '"', "\\": "\\", "t": "\t"}
# printf(3) without floating point, for which QEMU's tracetool has no types.
_PIECE = re.compile(
    r"(?P<text>[^%]+)|%(?:(?P<percent>%)|(?P<flags>[-+ #0]*)(?P<width>[0-9]+|\*)?"
    r"(?P<precision>\.(?:[0-9]+|\*)?)?(?:hh?|ll?|[zjt])?(?P<letter>[diouxXpcs]))"
)

# Digits are bounded because int() raises an exception at thousands of them.
_FOUND = {
    "s": r"(.*?)",
    "c": r"(.)",
    "d": r"([-+ ]?[0-9]{1,40})",
    "i": r"([-+ ]?[0-9]{1,40})",
    "u": r"([0-9]{1,40})",
    "o": r"([0-7]{1,40})",
    "x": r"((?:0x)?[0-9a-f]{1,40})",  # with the flag # zero is printed without 0x
    "X": r"((?:0X)?[0-9A-F]{1,40})",
    "p": r"(0x[0-9a-f]{1,40}|\(nil\))",  # glibc's NULL
}
_VALUE = {
    "s": "m[{}]",
    "c": "m[{}]",
    "o": "int(m[{}], 8)",
    "x": "int(m[{}], 16)",
    "X": "int(m[{}], 16)",
    "p": "pointer(m[{}])",
}


class Argument(NamedTuple):
    """One declared argument, e.g. ``const char *`` and ``name``."""

    ctype: str
    name: str


class Conversion(NamedTuple):
    """One conversion (``%``) of a format."""

    argument: str
    """Name of the argument that it prints."""
    letter: str
    """d, i, o, u, x, X, p, c or s; length modifiers such as ``l`` do not show in print."""
    padding: str
    """Side that may be padded with blanks: ``left``, ``right``, or empty if none."""


@dataclass(frozen=True)
class TraceEvent:
    """One declared trace event."""

    name: str
    arguments: tuple[Argument, ...]
    """In the order of declaration."""
    pieces: tuple[str | Conversion, ...]
    """The format: text as printed (``%%`` is ``%``), and conversions between."""
    disabled: bool
    """Declared ``disable``: not compiled in, so never printed."""

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Matches the printed arguments, with one group for each conversion.

        To be used with ``fullmatch``.  If the split between two ``%s`` is ambiguous, the earlier
        gets the least: in QEMU's formats names come first and free text last.
        """
        followed = pairwise((*self.pieces, ""))
        return re.compile("".join(_regex(piece, following) for piece, following in followed))

    @cached_property
    def read(self) -> Callable[[str], Arguments | None]:
        """Function from the printed arguments (after ``NAME`` and a blank) to their values.

        It returns None if the text does not fit the format.  Values are as printed: a
        negative number printed by ``%x`` is read as unsigned.  An argument that is only the
        width of another (``%*d``) has no value.
        """
        # Built from source, as namedtuple's are: twice as fast as a loop over the groups, and
        # this runs once a line.  Names are \w+ and quoted, the rest is from a table.
        found = [piece for piece in self.pieces if isinstance(piece, Conversion)]
        values = ", ".join(
            f"{c.argument!r}: " + _VALUE.get(c.letter, "int(m[{}])").format(n)
            for n, c in enumerate(found, start=1)
        )
        source = f"lambda text: None if (m := match(text)) is None else {{{values}}}"
        namespace = {"match": self.pattern.fullmatch, "pointer": _pointer}
        read: Callable[[str], Arguments | None] = eval(source, namespace)
        return read


@dataclass(frozen=True)
class Catalogue:
    """All trace events of one QEMU build."""

    origin: str
    """Its origin, for messages: usually a path."""
    events: Mapping[str, TraceEvent]
    """By name; the order is that of the file."""

    @classmethod
    def parse(cls, text: str, origin: str, patterns: Sequence[str] = ("*",)) -> "Catalogue":
        """Read the text of a ``trace-events-all``.

        :param origin: the text's name in messages, usually its path
        :param patterns: of the events that matter, as of ``-trace``; the others, thousands of
            them, are skipped unread
        :raises TraceError: a declaration cannot be read, or none matches
        """
        matters = re.compile("|".join(map(fnmatch.translate, patterns))).match
        # A catalogue has thousands of declarations, and the few that matter are needed
        # before QEMU is up: most lines are skipped by their first characters.
        starts = (*(re.split(r"[*?[]", pattern, maxsplit=1)[0] for pattern in patterns), " ", "\t")
        starts += tuple(_PROPERTIES)
        events: dict[str, TraceEvent] = {}
        for number, line in enumerate(text.split("\n"), start=1):
            if not line.startswith(starts):
                continue
            declaration = line.strip()
            if not declaration or declaration.startswith("#"):
                continue
            if not matters(declaration.partition("(")[0].rpartition(" ")[2]):
                continue
            try:
                event = _declared(declaration)
                if event.name in events:
                    raise ValueError(f"{event.name} is declared twice")
            except ValueError as error:
                raise TraceError(f"{origin} line {number}: damaged declaration: {error}") from None
            events[event.name] = event
        if not events:
            raise TraceError(
                f"{origin}: not a trace-events-all: it declares no trace event"
                f" {' or '.join(patterns)};"
                " name the file that was installed with the QEMU under test"
            )
        return cls(origin, events)


def names(text: str) -> set[str]:
    """Names of the events that the text of a ``trace-events-all`` declares, built in or not."""
    return set(_NAME.findall(text))


def _declared(declaration: str) -> TraceEvent:
    match = _DECLARATION.fullmatch(declaration)
    if match is None:
        raise ValueError(f"not NAME(ARGUMENTS) FORMAT: {declaration[:60]!r}")
    properties, name, declared, form = match.groups()
    if unknown := set(properties.split()) - _PROPERTIES:
        raise ValueError(f"{name}: unknown property {min(unknown)!r}")
    arguments = _arguments(name, declared)
    return TraceEvent(
        name, arguments, _pieces(name, _format(name, form), arguments), "disable" in properties
    )


def _arguments(event: str, declared: str) -> tuple[Argument, ...]:
    if declared.strip() == "void":
        return ()
    arguments = []
    for part in declared.split(","):
        match = _ARGUMENT.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"{event}: not an argument: {part.strip()!r}")
        arguments.append(Argument(match[1].strip(), match[2]))
    return tuple(arguments)


def _format(event: str, source: str) -> str:
    """The format as printf gets it, macros and escapes resolved."""
    parts = []
    at = 0
    while at < len(source):
        match = _FORMAT_PART.match(source, at)
        if match is None:
            raise ValueError(f"{event}: not a format: {source[at:].strip()!r}")
        at = match.end()
        parts.append(match[2] or _ESCAPE.sub(lambda m: _unescaped(event, m[1]), match[1]))
    return "".join(parts)


def _unescaped(event: str, letter: str) -> str:
    if letter not in _ESCAPED:
        raise ValueError(f"{event}: unknown escape \\{letter}")
    return _ESCAPED[letter]


def _pieces(event: str, form: str, arguments: tuple[Argument, ...]) -> tuple[str | Conversion, ...]:
    pieces: list[str | Conversion] = []
    names = iter([argument.name for argument in arguments])
    at = 0
    while at < len(form):
        match = _PIECE.match(form, at)
        if match is None:
            raise ValueError(f"{event}: unknown conversion {form[at : at + 8]!r}")
        at = match.end()
        if match["letter"] is None:
            pieces.append(match["text"] or "%")
            continue
        width, precision = match["width"], match["precision"]
        taken = [next(names, "") for _ in range((width == "*") + (precision == ".*") + 1)]
        if not taken[-1]:
            raise ValueError(f"{event}: the format prints more than its {len(arguments)} arguments")
        pieces.append(Conversion(taken[-1], match["letter"], _padding(match["flags"], width)))
    if left := list(names):
        raise ValueError(f"{event}: the format does not print {left[0]!r}")
    return tuple(pieces)


def _padding(flags: str, width: str | None) -> str:
    if width is None or ("0" in flags and "-" not in flags):
        return ""
    return "right" if "-" in flags else "left"


def _regex(piece: str | Conversion, following: str | Conversion) -> str:
    if isinstance(piece, str):
        return re.escape(piece)
    if piece.letter == "s" and not piece.padding and isinstance(following, str) and following:
        # As .*? but from one possible end to the next: makes the event a fifth faster.
        end = re.escape(following[0])
        return f"([^{end}]*(?:{end}[^{end}]*)*?)"
    left = " *" if piece.padding == "left" else ""
    right = " *" if piece.padding == "right" else ""
    return left + _FOUND[piece.letter] + right


def _pointer(text: str) -> int:
    return 0 if text == "(nil)" else int(text, 16)
