"""The **sockets** that one migration goes through: in a folder that nobody else enters.

An abstract socket's name stands in /proc/net/unix, and every user of the machine can connect
to it.  These are files in a folder below the working directory of both QEMUs, which therefore
reach them by a short path however long that of the run directory is: a socket's path has at
most 107 bytes (unix(7)).
"""

import shutil
from pathlib import Path

from harness.errors import PrerequisiteMissing
from harness.history import private
from harness.proxy.address import UnixAddress
from harness.scenario import Scenario, Transport

FOLDER = "sockets"
DESTINATION = f"{FOLDER}/destination"
"""What the destination listens on, relative to the QEMUs' working directory."""
RELAY = f"{FOLDER}/relay"


class Sockets:
    """The folder of ``scenario``'s sockets in ``home``; where it needs none, none is made.

    :ivar home: working directory of its QEMUs
    """

    def __init__(self, scenario: Scenario, home: Path) -> None:
        self.home = home
        self._is_needed = scenario.transport is Transport.UNIX
        self._folder = home / FOLDER

    def make(self) -> None:
        """Make it.

        :raise PrerequisiteMissing: the file system there has no sockets
        """
        if not self._is_needed:
            return
        try:
            private.make_folder(self._folder)
            self._try_one()
        except OSError as error:
            raise PrerequisiteMissing(
                f"{self._folder}: no unix socket can be made there ({error.strerror or error}): "
                "give --runs a folder on another file system"
            ) from error

    def _try_one(self) -> None:
        """A file system without sockets must not look like a QEMU that cannot listen."""
        address = UnixAddress("probe", self._folder)
        address.listen().close()
        address.remove()

    def remove(self) -> None:
        """Remove it and what is in it, if it is there."""
        if self._folder.exists():
            shutil.rmtree(self._folder)
