"""The **actions** of a scenario: what the harness does to the QEMUs while they migrate.

Plain frozen data, like the scenario that holds it.  Each action waits for its moment, a
record of the run's history (``harness.history.records`` has the words), and is done once;
``harness.session.actions`` carries it out.
"""

import enum
from typing import Annotated, Any

import msgspec

from harness import ranges


class _Frozen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Frozen, keyword only, and a field that nobody knows is an error."""


class Target(enum.StrEnum):
    """Which QEMU something is done to."""

    SOURCE = "source"
    DESTINATION = "destination"


class When(_Frozen, frozen=True, kw_only=True, omit_defaults=True):
    """The moment: the ``count``-th record that is like this."""

    kind: str = "qmp"
    name: str = "MIGRATION"
    side: str = ""
    """Empty: any."""
    args: dict[str, Any] = {}
    """Those that the record must have with these values."""
    count: ranges.Count = 1

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count is {self.count}, below 1")

    def describe(self) -> str:
        """In words, behind a verb."""
        args = "".join(f" {name}={value}" for name, value in self.args.items())
        nth = f", time {self.count}" if self.count > 1 else ""
        return f"at {self.side} {self.name}{args}{nth}".replace("  ", " ")


def status(side: Target, name: str) -> When:
    """When ``side`` tells the MigrationStatus ``name``."""
    return When(side=side.value, args={"status": name})


class _Action(_Frozen, frozen=True, kw_only=True, tag_field="action"):
    """What every action has."""

    when: When

    def describe(self) -> str:
        """One readable line."""
        raise NotImplementedError


class Execute(_Action, frozen=True, kw_only=True, tag="execute"):
    """A QMP command."""

    target: Target
    command: str
    arguments: dict[str, Any] = {}

    def describe(self) -> str:
        return f"{self.command} to the {self.target} {self.when.describe()}"


class Storm(_Action, frozen=True, kw_only=True, tag="storm"):
    """QMP commands over and over, several at a time, until the migration has ended."""

    target: Target
    commands: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = (
        "query-migrate", "query-status", "query-cpus-fast", "query-memory-devices",
        "query-block", "query-pci", "query-iothreads", "x-query-numa",
    )  # fmt: skip

    def describe(self) -> str:
        return (
            f"a storm of {len(self.commands)} commands to the {self.target} {self.when.describe()}"
        )


class Kill(_Action, frozen=True, kw_only=True, tag="kill"):
    """SIGKILL."""

    target: Target

    def describe(self) -> str:
        return f"kill the {self.target} {self.when.describe()}"


class Tell(_Action, frozen=True, kw_only=True, tag="tell"):
    """An outside event for the faults (``fault_plan.Until.told``)."""

    name: str
    value: ranges.Value = 0

    def describe(self) -> str:
        return f"tell the faults {self.name} {self.when.describe()}"


Action = Execute | Storm | Kill | Tell
ActionPlan = tuple[Action, ...]
