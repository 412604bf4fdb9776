"""Emulated devices behind vfio-user servers, for the QEMU of one side."""

import contextlib
import functools
import json
import os
from collections.abc import Sequence

from harness.devices.emulated import EmulatedDevices
from harness.devices.of_kind import Target
from harness.errors import PrerequisiteMissing
from harness.history.device import Abilities
from harness.scenario import EmulatedDevice
from harness.scenario.devices import VfioUserDevice
from harness.scenario.vfio_user import VfioUserClient
from harness.supervisor import eventfd
from harness.supervisor.attached import AttachedDevice
from harness.supervisor.spawn import Launcher
from harness.vfio.iommu import Iommu
from harness.vfio.state_bytes import GoOn, to_the_end
from harness.vfio.uapi import Feature
from harness.vfio_user.client import Client
from harness.vfio_user.connection import Connection
from harness.vfio_user.function import RemoteFunction
from harness.vfio_user.iommu import RemoteIommu
from harness.vfio_user.server import Server


class VfioUserDevices(EmulatedDevices):
    """The devices of ``specs`` in the QEMU of ``target``.

    :ivar servers: one for each spec, by its id
    """

    def __init__(self, specs: Sequence[VfioUserDevice], target: Target) -> None:
        self.servers: dict[str, Server] = {}
        self._clients: list[Client] = []
        self._own = [spec for spec in specs if spec.client is VfioUserClient.QEMU]
        self._paths: dict[str, str] = {}
        ours = [spec for spec in specs if spec.client is VfioUserClient.HARNESS]
        super().__init__(ours, target)
        try:
            for spec in self._own:
                self._observe_abilities(spec)
                self._paths[spec.id] = str(self._server(spec, sees_device=True).listen())
        except BaseException:
            self.close()
            raise

    def _server(self, spec: VfioUserDevice, *, sees_device: bool) -> Server:
        observe = functools.partial(self._target.observe, spec)
        server = Server(spec, self._target.side.value, observe, sees_device=sees_device)
        self.servers[spec.id] = server
        return server

    def _iommu(self) -> Iommu | None:
        self._mappings = RemoteIommu(lambda: self.supervisor.pid)
        return self._mappings

    def _attached(self, spec: EmulatedDevice, index: int) -> AttachedDevice:
        assert isinstance(spec, VfioUserDevice)
        connection = Connection(self._server(spec, sees_device=False).connect())
        client = Client(spec.id, connection, spec.reply_limit_s)
        self._clients.append(client)
        make = functools.partial(RemoteFunction, client=client, pass_fds=self._pass_fds)
        try:
            client.negotiate()
            device = AttachedDevice(
                spec, self._target.side, self.supervisor.iommu, index, self._target.record, make
            )
        except OSError as error:
            why = client.failure or f"{spec.id}: its vfio-user server refuses: {error.strerror}"
            raise client.failure or PrerequisiteMissing(str(why)) from error
        self._mappings.add(client)
        return device

    def _pass_fds(self, numbers: list[int]) -> list[int]:
        return _descriptors_of(self.supervisor.pid, numbers)

    # -- QEMU ------------------------------------------------------------------------

    def objects(self) -> list[str]:
        """The iommufd, if the harness is the client."""
        return super().objects() if self.devices else []

    def options(self) -> dict[str, list[str]]:
        """As of emulated devices, or with the path of the server's socket."""
        found = super().options()
        for spec in self._own:
            option = {
                "driver": "vfio-user-pci",
                "id": spec.id,
                "addr": f"{self._target.slot(spec):#x}",
                "socket": {"type": "unix", "path": self._paths[spec.id]},
            }
            found[spec.id] = ["-device", json.dumps(option)]
        return found

    def trace_names(self) -> dict[str, str]:
        """Also the names that QEMU's client gives its devices."""
        own = {f"vfio-user:{path}": name for name, path in self._paths.items()}
        return super().trace_names() | own

    @property
    def launch(self) -> Launcher | None:
        """The supervisor's, if the harness is the client of a device."""
        return self.supervisor.launch if self.devices else None

    @property
    def failure(self) -> BaseException | None:
        """Why the supervisor ended, or a server is lost."""
        failures = [
            super().failure,
            *(client.failure for client in self._clients),
            *(server.failure for server in self.servers.values()),
        ]
        return next((failure for failure in failures if failure is not None), None)

    @property
    def thread_ids(self) -> Sequence[int]:
        """The supervisor's and the servers'."""
        own = [self.supervisor.thread_id] if self.devices else []
        return [*own, *(server.thread_id for server in self.servers.values())]

    @property
    def is_waiting(self) -> bool:
        """Whether a call waits for a server, too: how long that may take is limited."""
        return super().is_waiting or any(client.is_asking for client in self._clients)

    # -- contents --------------------------------------------------------------------

    def fill_contents(self) -> None:
        """A pattern of each device's seed."""
        super().fill_contents()
        for spec in self._own:
            self.servers[spec.id].target.function.fill_contents()

    def observe_config(self) -> None:
        """Record the registers that each device itself has now."""
        super().observe_config()
        for spec in self._own:
            self._target.observe(spec, self.servers[spec.id].target.function.config())

    def report(self, go_on: GoOn = to_the_end) -> None:
        """Record what each device gave or got, and what QEMU's client can do."""
        super().report(go_on)
        for spec in self._own:
            self._observe_abilities(spec)

    def _observe_abilities(self, spec: VfioUserDevice) -> None:
        """What QEMU's client can do: it can migrate if it has asked the server about migration."""
        server = self.servers.get(spec.id)
        features = server.target.features if server is not None else set()
        can = Feature.MIG_DEVICE_STATE in features or Feature.MIGRATION in features
        abilities = Abilities(
            stop_copy=can and spec.stop_copy,
            p2p=can and spec.p2p,
            pre_copy=False,
            dma_logging=False,
        )
        self._target.observe(spec, abilities)

    def close(self) -> None:
        """After QEMU's end: give up servers, threads and memory."""
        for client in self._clients:
            client.end()
        with contextlib.ExitStack() as stack:
            stack.callback(super().close)
            for client in self._clients:
                stack.callback(client.close)
            for server in self.servers.values():
                stack.callback(server.close)


def _descriptors_of(pid: int, numbers: list[int]) -> list[int]:
    """Our descriptors of what the process has open by ``numbers``, also of what has no path.

    :raise OSError: the kernel does not allow it
    """
    found: list[int] = []
    pidfd = os.pidfd_open(pid)
    try:
        for number in numbers:
            found.append(eventfd.get(pidfd, number))
    except BaseException:
        for fd in found:
            os.close(fd)
        raise
    finally:
        os.close(pidfd)
    return found
