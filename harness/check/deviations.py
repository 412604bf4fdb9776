"""Known deviations: what a QEMU version is known to do against a requirement.

The requirement is never bent to it.  A deviation is strict both ways: it excuses exactly
the violation that it describes, and where that does not happen any more, that is an
error too.
"""

import re
import tomllib

import msgspec

from harness.check.verdict import Finding, Outcome, Verdict
from harness.errors import UsageError
from harness.history.builds import BuildFacts

_OPERATORS = {
    ">=": lambda a, b: a >= b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
}


class Deviation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of ``known_deviations.toml``."""

    requirement: str
    case: str
    """Name of the case, as the test that shows it gives it."""
    versions: str
    """Of QEMU, on ``side``: like ``>=10.0, <11.0``."""
    side: str = "either"
    """Whose version it is: source, destination or either."""
    seen: str
    """Regular expression found in the words or the evidence of the finding."""
    cause: str
    intermittent: bool = False
    """Does not show in every run: excused where it does, not missed where it does not."""

    @property
    def name(self) -> str:
        """Requirement and case as one word, for files and the command line."""
        return re.sub(r"[^a-z0-9]+", "-", f"{self.requirement} {self.case}".lower()).strip("-")

    def affects(self, source: BuildFacts, destination: BuildFacts) -> bool:
        """Whether one of the builds it is about is among its versions."""
        builds = {"source": (source,), "destination": (destination,)}.get(
            self.side, (source, destination)
        )
        return any(_is_in(build.version, self.versions) for build in builds)

    def describes(self, finding: Finding) -> bool:
        """Whether ``finding`` is what this deviation says is seen."""
        words = [finding.sentence, *(str(record.args) for record in finding.evidence)]
        return any(re.search(self.seen, text) for text in words)

    def shows_in(self, finding: Finding) -> bool:
        """Whether it is this deviation that ``finding`` tells of.

        RUN repeats what keeps a run from its end; and one that breaks in whatever runs shows
        in the requirements of those runs.
        """
        is_own = self.intermittent or finding.requirement in (self.requirement, "RUN")
        return is_own and self.describes(finding)


class _File(msgspec.Struct, forbid_unknown_fields=True):
    deviation: tuple[Deviation, ...] = ()


def parse(text: str, origin: str) -> tuple[Deviation, ...]:
    """The deviations in the TOML ``text``.

    :raise UsageError: it is no such file; names ``origin`` and the field
    """
    try:
        found = msgspec.convert(tomllib.loads(text), type=_File).deviation
        for deviation in found:
            re.compile(deviation.seen)
            _is_in((0, 0, 0), deviation.versions)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, re.error, ValueError) as error:
        raise UsageError(f"{origin}: not a list of known deviations: {error}") from error
    return found


def find(
    known: tuple[Deviation, ...],
    requirement: str,
    case: str,
    source: BuildFacts,
    destination: BuildFacts,
) -> Deviation | None:
    """The one that is expected to show here."""
    return next(
        (
            deviation
            for deviation in known
            if deviation.requirement == requirement
            and deviation.case == case
            and deviation.affects(source, destination)
        ),
        None,
    )


def interrupted_by(
    known: tuple[Deviation, ...], verdict: Verdict, source: BuildFacts, destination: BuildFacts
) -> Deviation | None:
    """The intermittent one that every violation of ``verdict`` comes from; None: there is none."""
    violated = [f for f in verdict.findings if f.outcome is Outcome.VIOLATED]
    return next(
        (
            deviation
            for deviation in known
            if violated
            and deviation.intermittent
            and deviation.affects(source, destination)
            and all(deviation.describes(finding) for finding in violated)
        ),
        None,
    )


def _is_in(version: tuple[int, int, int], versions: str) -> bool:
    for bound in versions.split(","):
        match = re.fullmatch(r"\s*(>=|<=|<|>)\s*(\d+)\.(\d+)(?:\.(\d+))?\s*", bound)
        if match is None:
            raise ValueError(f"versions: {bound.strip()!r} is not like '>=10.0'")
        limit = tuple(int(part or 0) for part in match.groups()[1:])
        if not _OPERATORS[match[1]](version, limit):
            return False
    return True
