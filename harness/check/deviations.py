"""Known deviations: what a QEMU version is known to do against a requirement.

The requirement is never adapted to it.  A deviation is strict in both directions: it excuses
exactly the violation that it describes, and it is also an error if that violation no longer
occurs.

A violation is recognised by its requirement, by what QEMU did (``Finding.shape``) and by
QEMU's own words; never by a sentence of the harness, which may be improved.
"""

import re
from collections.abc import Iterator, Sequence

import msgspec

from harness.check import hang
from harness.check.verdict import Finding, Outcome, Verdict
from harness.errors import UsageError
from harness.history.builds import BuildFacts
from harness.history.process import Exited, Stderr
from harness.history.records import Body, Kind, Record

_OPERATORS = {
    ">=": lambda a, b: a >= b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
}
_RUN = "RUN"


class Deviation(msgspec.Struct, frozen=True, kw_only=True):
    """What one bug does against one requirement."""

    requirement: str
    case: str
    """Name of the case, as the test that shows it gives it."""
    versions: str
    """Of QEMU, on ``side``: like ``>=10.0, <11.0``."""
    side: str = "either"
    """Whose version it is: source, destination or either."""
    shape: str = ""
    """The finding's; empty if any."""
    qemu_says: str = ""
    """Regular expression found in QEMU's words among the evidence; empty if any words or none."""
    cause: str
    fixed_by: str = ""
    """The upstream commit that fixed it; empty if none is known."""
    also: tuple[str, ...] = ()
    """Requirements that the same run breaks as a consequence."""
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
        """Whether ``finding``, of whatever requirement, is what this deviation describes."""
        if self.shape not in ("", finding.shape):
            return False
        words = qemu_words(finding.evidence)
        return not self.qemu_says or any(re.search(self.qemu_says, text) for text in words)

    def may_break(self, requirement: str) -> bool:
        """Whether a violation of ``requirement`` may be this one: its own, or in RUN's words.

        One that can break any run, and is known by QEMU's words or by what waits for what,
        shows in the requirements of those runs.
        """
        is_anywhere = self.intermittent and (bool(self.qemu_says) or self.shape in hang.SHAPES)
        return is_anywhere or requirement in (self.requirement, _RUN)

    def shown_in(self, verdict: Verdict) -> Finding | None:
        """The violation in which it shows: its requirement's own; None if it does not show.

        RUN repeats what keeps a run from its end, and counts where nothing else is violated, or
        the deviation is intermittent.
        """
        violated = [f for f in verdict.findings if f.outcome is Outcome.VIOLATED]
        own = [finding for finding in violated if finding.requirement == self.requirement]
        is_run_alone = [finding.requirement for finding in violated] == [_RUN]
        others = violated if self.intermittent or is_run_alone else []
        fitting = [f for f in own or others if self.may_break(f.requirement)]
        return next(filter(self.describes, fitting), None)


class _Only(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is otherwise for one of an entry's requirements."""

    case: str = ""
    versions: str = ""
    shape: str = ""
    cause: str = ""
    also: tuple[str, ...] = ()
    intermittent: bool = False


class _Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One bug: an entry of ``known_deviations.toml``."""

    requirements: tuple[str, ...]
    """Those that it breaks; each has a scenario that shows it."""
    case: str
    versions: str
    side: str = "either"
    shape: str = ""
    qemu_says: str = ""
    cause: str
    fixed_by: str = ""
    also: tuple[str, ...] = ()
    intermittent: bool = False
    only: dict[str, _Only] = {}

    def __post_init__(self) -> None:
        if not self.requirements:
            raise ValueError(f"{self.case}: it breaks no requirement")
        if not (self.shape or self.qemu_says):
            raise ValueError(f"{self.case}: needs one of shape, qemu_says")
        if strange := set(self.only) - set(self.requirements):
            raise ValueError(f"{self.case}: only {', '.join(sorted(strange))}: not in requirements")

    def deviations(self) -> Iterator[Deviation]:
        """One for each requirement."""
        fields = {
            name: getattr(self, name)
            for name in self.__struct_fields__
            if name not in ("requirements", "only")
        }
        for requirement in self.requirements:
            own = msgspec.to_builtins(self.only.get(requirement, _Only()))
            yield msgspec.convert({**fields, **own, "requirement": requirement}, Deviation)


class _File(msgspec.Struct, forbid_unknown_fields=True):
    deviation: tuple[_Entry, ...] = ()


def parse(text: str, origin: str) -> tuple[Deviation, ...]:
    """The deviations in the TOML ``text``.

    :raise UsageError: it is no such file; names ``origin`` and the field
    """
    import tomllib  # noqa: PLC0415 - most runs violate nothing, and need no list

    try:
        entries = msgspec.convert(tomllib.loads(text), type=_File).deviation
        found = tuple(deviation for entry in entries for deviation in entry.deviations())
        for deviation in found:
            re.compile(deviation.qemu_says)
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


def explain(
    known: tuple[Deviation, ...], verdict: Verdict, source: BuildFacts, destination: BuildFacts
) -> dict[str, Deviation]:
    """The known deviation behind each violation of ``verdict``, by requirement.

    What is left out is no known deviation.  A violation of another requirement is one only
    as a consequence (``also``, and RUN with the same evidence) of one that shows in its own, or
    of one that shows in RUN, if the crash that RUN names is its evidence.
    """
    here = [deviation for deviation in known if deviation.affects(source, destination)]
    violated = {f.requirement: f for f in verdict.findings if f.outcome is Outcome.VIOLATED}
    run = violated.pop(_RUN, None)
    found: dict[str, Deviation] = {}
    for requirement, finding in violated.items():
        own = (d for d in here if d.requirement == requirement and d.describes(finding))
        if (deviation := next(own, None)) is not None:
            found[requirement] = deviation
    for deviation in tuple(found.values()):
        for requirement in deviation.also:
            if requirement in violated:
                found.setdefault(requirement, deviation)
    if run is not None:
        repeated = [
            deviation
            for requirement, deviation in found.items()
            if any(record in violated[requirement].evidence for record in run.evidence)
        ]
        described = [d for d in here if d.describes(run) and (d.intermittent or not violated)]
        cause = next(iter((*repeated, *described)), None)
        if cause is None:
            return found
        found[_RUN] = cause
        # A violation whose evidence is the same crash follows from it.
        crashes = [r for r in run.evidence if isinstance(r.args, Exited) and r.args.signal]
        for requirement, finding in violated.items():
            if any(record in finding.evidence for record in crashes):
                found.setdefault(requirement, cause)
    return found


def interrupted_by(
    known: tuple[Deviation, ...], verdict: Verdict, source: BuildFacts, destination: BuildFacts
) -> Deviation | None:
    """The intermittent one that every violation of ``verdict`` comes from; None if there is none.

    A violation comes from it if it describes that, or if ``explain`` says so: a consequence.
    Of several that fit, one whose own requirement is violated goes first.  Two may also have met:
    then it is one of them.
    """
    violated = [f for f in verdict.findings if f.outcome is Outcome.VIOLATED]
    fitting = [
        deviation
        for deviation in known
        if violated
        and deviation.intermittent
        and deviation.affects(source, destination)
        and all(deviation.may_break(f.requirement) and deviation.describes(f) for f in violated)
    ]
    ids = {finding.requirement for finding in violated}
    own = (deviation for deviation in fitting if deviation.requirement in ids)
    if fitting or not violated:
        return next(own, fitting[0] if fitting else None)
    explained = explain(known, verdict, source, destination)
    if explained.keys() == ids and all(cause.intermittent for cause in explained.values()):
        return next(iter(explained.values()))
    return None


def qemu_words(evidence: Sequence[Record]) -> Iterator[str]:
    """What QEMU itself said in ``evidence``: on stderr, and in errors of its monitor."""
    for record in evidence:
        args = record.args
        if isinstance(args, Stderr):
            yield args.line
        elif isinstance(args, Body) or record.kind is not Kind.QMP:
            continue
        elif record.name == "error":
            yield str(args.get("desc", ""))
        elif isinstance(value := args.get("value"), dict):
            yield str(value.get("error-desc", ""))


def _is_in(version: tuple[int, int, int], versions: str) -> bool:
    for bound in versions.split(","):
        match = re.fullmatch(r"\s*(>=|<=|<|>)\s*(\d+)\.(\d+)(?:\.(\d+))?\s*", bound)
        if match is None:
            raise ValueError(f"versions: {bound.strip()!r} is not like '>=10.0'")
        limit = tuple(int(part or 0) for part in match.groups()[1:])
        if not _OPERATORS[match[1]](version, limit):
            return False
    return True
