"""The **actions** of a scenario: what the harness does to the QEMUs while they migrate.

Plain frozen data, like the scenario that holds it.  Each action waits for its moment, a
record of the run's history (``harness.history.records`` has the words), and is done once;
``harness.session.actions`` carries it out.
"""

import enum
import re
from typing import Annotated, Any

import msgspec

from harness.scenario import ranges


class _Frozen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Frozen, keyword only, and an unknown field is an error."""


class Target(enum.StrEnum):
    """Which QEMU something is done to."""

    SOURCE = "source"
    DESTINATION = "destination"


class When(_Frozen, frozen=True, kw_only=True, omit_defaults=True):
    """The moment: the ``count``-th record that is like this."""

    kind: str = "qmp"
    name: str = "MIGRATION"
    side: str = ""
    """Empty for any."""
    args: dict[str, Any] = {}
    """Those that the record must have with these values."""
    count: ranges.Count = 1

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count is {self.count}, below 1")

    def describe(self) -> str:
        """As it follows a verb."""
        args = "".join(f" {name}={value}" for name, value in self.args.items())
        nth = f", time {self.count}" if self.count > 1 else ""
        return f"at {self.side} {self.name}{args}{nth}".replace("  ", " ")


def status(side: Target, name: str) -> When:
    """When ``side`` reports the MigrationStatus ``name``."""
    return When(side=side.value, args={"status": name})


class _Action(_Frozen, frozen=True, kw_only=True, tag_field="action"):
    """What every action has."""

    when: When

    def describe(self) -> str:
        """One readable line."""
        raise NotImplementedError


_SHORT = {"c": "cont", "q": "quit", "s": "stop"}
"""Names of HMP commands (hmp-commands.hx) that are shorter than those of QMP."""
PAUSES = {"stop": True, "cont": False}
"""Commands that pause the guest (True) or let it run (False)."""


def effect_of(command: str, arguments: dict[str, Any] | None) -> str:
    """The QMP command that ``command`` amounts to, also where the human monitor is given it."""
    if command != "human-monitor-command":
        return command
    line = str((arguments or {}).get("command-line", "")).split()
    name = line[0] if line else ""
    return _SHORT.get(name, name)


class Execute(_Action, frozen=True, kw_only=True, tag="execute"):
    """A QMP command, which QEMU must accept; or refuse, where ``refused_with`` says so."""

    target: Target
    command: str
    arguments: dict[str, Any] = {}
    refused_with: str | None = None
    """Regular expression (``re.search``) for the ``CLASS: description`` of QEMU's error; "" fits
    any.  None if the command must be accepted.  Any other answer makes the run UNKNOWN."""

    def __post_init__(self) -> None:
        try:
            re.compile(self.refused_with or "")
        except re.error as error:
            raise ValueError(f"refused_with {self.refused_with!r}: {error}") from error

    @property
    def effect(self) -> str:
        """The QMP command that it amounts to."""
        return effect_of(self.command, self.arguments)

    def describe(self) -> str:
        refused = "" if self.refused_with is None else ", which it must refuse"
        return f"{self.command} to the {self.target} {self.when.describe()}{refused}"


class Storm(_Action, frozen=True, kw_only=True, tag="storm"):
    """QMP commands over and over, several at a time, until the migration has ended."""

    target: Target
    commands: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = (
        "query-migrate", "query-status", "query-cpus-fast", "query-memory-devices",
        "query-block", "query-pci", "query-iothreads", "x-query-numa",
    )  # fmt: skip

    def __post_init__(self) -> None:
        if not self.commands:
            raise ValueError("a storm needs commands")

    def describe(self) -> str:
        return (
            f"a storm of {len(self.commands)} commands to the {self.target} {self.when.describe()}"
        )


class Kill(_Action, frozen=True, kw_only=True, tag="kill"):
    """SIGKILL."""

    target: Target

    def describe(self) -> str:
        return f"kill the {self.target} {self.when.describe()}"


class Suspend(_Action, frozen=True, kw_only=True, tag="suspend"):
    """The source's machine enters the sleeping state S3, as if its guest had asked for it.

    QEMU does that in its main loop: once the migration has stopped the guest, this is what QEMU
    sees of a guest that has asked right before.
    """

    def describe(self) -> str:
        return f"suspend the source's guest {self.when.describe()}"


class Tell(_Action, frozen=True, kw_only=True, tag="tell"):
    """An outside event for the faults (``fault_plan.Until.told``)."""

    name: str
    value: ranges.Value = 0

    def describe(self) -> str:
        return f"notify the faults of {self.name} {self.when.describe()}"


Action = Execute | Storm | Kill | Suspend | Tell
ActionPlan = tuple[Action, ...]


def may_end(action: Action) -> bool:
    """Whether QEMU may end with status 0 because of ``action``.

    Besides ``quit`` this is what a guest may answer by switching itself off, or by a panic,
    on which QEMU ends as well (``-action`` of qemu-options.hx).
    """
    ending = ("quit", "system_powerdown", "inject-nmi", "nmi")
    return isinstance(action, Execute) and action.effect in ending


def is_quit(action: Action) -> bool:
    """Whether ``action`` ends QEMU by its monitor."""
    return isinstance(action, Execute) and action.effect == "quit"
