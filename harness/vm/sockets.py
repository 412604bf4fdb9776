"""The **sockets** of one migration, in a folder that no other user can enter.

The name of an abstract socket is in /proc/net/unix, and every user of the machine can connect to
it.  These sockets are files in a folder below the working directory of both QEMUs.  The path that
QEMU uses is therefore short, whatever the path of the run directory is: a socket's path has at
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
"""The socket that the destination listens on, relative to the QEMUs' working directory."""
RELAY = f"{FOLDER}/relay"


class Sockets:
    """The folder of the sockets of ``scenario`` in ``home``; made only if it has any.

    :ivar home: working directory of its QEMUs
    """

    def __init__(self, scenario: Scenario, home: Path) -> None:
        self.home = home
        self._is_needed = scenario.transport is Transport.UNIX
        self._folder = home / FOLDER

    def make(self) -> None:
        """Make the folder.

        :raise PrerequisiteMissing: its file system has no sockets
        """
        if not self._is_needed:
            return
        try:
            private.make_folder(self._folder)
            self._try_one()
        except OSError as error:
            raise PrerequisiteMissing(
                f"{self._folder}: cannot make a unix socket ({error.strerror or error}): "
                "use --runs with a folder on another file system"
            ) from error

    def _try_one(self) -> None:
        """Else a file system without sockets would look like a QEMU that cannot listen."""
        address = UnixAddress("probe", self._folder)
        address.listen().close()
        address.remove()

    def remove(self) -> None:
        """Remove the folder and its contents, if it exists."""
        if self._folder.exists():
            shutil.rmtree(self._folder)
