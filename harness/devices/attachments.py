"""All **attachments** of one side: devices of any kind, in the scenario's order."""

import contextlib
import importlib
from collections.abc import Callable, Iterator, Sequence

from harness.devices.of_kind import DevicesOfKind, Target
from harness.errors import UsageError
from harness.history import Record, Side
from harness.scenario import KINDS, MIB, Device
from harness.scenario.interrupts import At
from harness.supervisor.spawn import Launcher, Spawn
from harness.vfio.state_bytes import GoOn, to_the_end


def class_of(kind: type[Device]) -> type[DevicesOfKind]:
    """What attaches devices of ``kind``: ``MdevDevices`` in ``mdev.py`` for ``MdevDevice``."""
    module = importlib.import_module(f"harness.devices.{kind.__struct_config__.tag}")
    found: type[DevicesOfKind] = getattr(module, f"{kind.__name__}s")
    return found


def is_missing_here(device: Device) -> bool:
    """Whether this machine has no device of this kind at all."""
    return class_of(type(device)).is_missing_here()


class Attachments:
    """The devices of ``specs`` in the QEMU of ``side``; they are there from now on.

    :param ram_mib: the guest's RAM, which a device that is passed through needs pinned
    :param taken: addresses of devices that the other QEMU has
    :param watches_sends: count what QEMU sends with MSG_ZEROCOPY
    :ivar kinds: one for each kind that there is among ``specs``
    :raise PrerequisiteMissing: one cannot be attached; the others are undone
    """

    def __init__(
        self,
        side: Side,
        specs: Sequence[Device],
        record: Callable[[Record], None],
        *,
        ram_mib: int = 0,
        taken: Sequence[str] = (),
        watches_sends: bool = False,
    ) -> None:
        self._ids = [spec.id for spec in specs]
        self._target = Target(side, specs, record, ram_mib * MIB, taken, watches_sends)
        self.kinds: list[DevicesOfKind] = []
        with contextlib.ExitStack() as undo:
            for kind in KINDS:
                if ours := [spec for spec in specs if type(spec) is kind]:
                    made = class_of(kind)(ours, self._target)
                    undo.callback(made.close)
                    self.kinds.append(made)
            self.launch: Launcher = self._launcher()
            """What starts QEMU."""
            undo.pop_all()

    def _launcher(self) -> Launcher:
        found = [kind.launch for kind in self.kinds if kind.launch is not None]
        if len(found) > 1:
            raise UsageError("devices of two kinds, each of which must start QEMU")
        return found[0] if found else Spawn.start

    @property
    def addresses(self) -> list[str]:
        """Addresses of the attached devices that only one QEMU at a time can have."""
        return [address for kind in self.kinds for address in kind.addresses]

    def options(self) -> list[str]:
        """QEMU options that attach the devices, in the scenario's order."""
        found: dict[str, list[str]] = {}
        options = []
        for kind in self.kinds:
            options += kind.objects()
            found |= kind.options()
        return options + [option for name in self._ids for option in found.get(name, [])]

    def trace_names(self) -> dict[str, str]:
        """Names that QEMU's trace may give the devices -> their ids."""
        names = {name: each for kind in self.kinds for name, each in kind.trace_names().items()}
        return names | {name: name for name in self._ids}

    @property
    def failure(self) -> BaseException | None:
        """Why devices were lost although QEMU had not ended, which makes the run lost; None if
        none were.
        """
        return next((kind.failure for kind in self.kinds if kind.failure is not None), None)

    @property
    def thread_ids(self) -> list[int]:
        """Of the harness's threads that serve the devices."""
        return [tid for kind in self.kinds for tid in kind.thread_ids]

    @property
    def is_waiting(self) -> bool:
        """Whether a device lets QEMU wait for a time, on purpose."""
        return any(kind.is_waiting for kind in self.kinds)

    def fill_contents(self) -> None:
        """Give the source's devices the registers and memory that a driver would."""
        for kind in self.kinds:
            kind.fill_contents()

    def fire(self, at: At) -> None:
        """Let the devices fire the interrupts that are planned for then.

        :raise OSError: QEMU is gone
        """
        for kind in self.kinds:
            kind.fire(at)

    def expect_from(self, source: "Attachments") -> None:
        """Compare what each device gets with the state that its peer in ``source`` gives."""
        for theirs in self.kinds:
            for ours in source.kinds:
                if type(ours) is type(theirs):
                    theirs.expect_from(ours)

    def behave(self, specs: Sequence[Device]) -> None:
        """Do as ``specs`` say from now on: the QEMU is the source of another migration."""
        for kind in self.kinds:
            kind.behave(specs)

    def expect_generated(self) -> None:
        """Compare what each device gets with the state that a source device has from the start:
        the source is a capture.
        """
        for kind in self.kinds:
            kind.expect_generated()

    def prepare(self, go_on: GoOn = to_the_end) -> None:
        """Do ahead of the migration what may take a while; blocks.

        :raise Stopped: by ``go_on``
        """
        for kind in self.kinds:
            kind.prepare(go_on)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """In this block a debugger can stop QEMU's threads: none waits for the harness."""
        with contextlib.ExitStack() as stack:
            for kind in self.kinds:
                stack.callback(kind.pause, False)
                kind.pause(True)
            yield

    def observe_config(self) -> None:
        """Record the registers that each device itself has now, if the harness can see them."""
        for kind in self.kinds:
            kind.observe_config()

    def observe_calls(self) -> None:
        """Record the calls that a driver has logged since the last time."""
        for kind in self.kinds:
            kind.observe_calls()

    def report(self, go_on: GoOn = to_the_end) -> None:
        """Record what each device gave or got, if the harness can see it; blocks."""
        for kind in self.kinds:
            kind.report(go_on)

    def close(self) -> None:
        """After QEMU's end: give up all devices.  Called again it does nothing.

        :raise HarnessError: one is left behind; the others are not
        """
        with contextlib.ExitStack() as stack:
            for kind in self.kinds:
                stack.callback(kind.close)
