"""What ``images/rig/build.sh`` has built, from its manifest."""

from pathlib import Path

import msgspec

from harness.errors import PrerequisiteMissing

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "rig"
BUILD = "make rig"


class _Manifest(msgspec.Struct, frozen=True):
    kernel: str
    debian: str
    virtme_ng: str


class Image(msgspec.Struct, frozen=True):
    """The kernel of a rig and the programs that boot it.  All paths are absolute."""

    folder: Path
    kernel: str
    """The kernel's release, as ``uname -r`` prints it."""
    debian: str
    """The version of its Debian package."""
    virtme_ng: str
    """The version of virtme-ng."""

    @property
    def vmlinuz(self) -> Path:
        """The kernel image."""
        return self.folder / "kernel" / "boot" / f"vmlinuz-{self.kernel}"

    @property
    def modules(self) -> Path:
        """The directory above ``lib/modules/RELEASE``, for ``modprobe --dirname``."""
        return self.folder / "kernel"

    @property
    def programs(self) -> Path:
        """The directory with busybox and kmod."""
        return self.folder / "bin"

    @property
    def virtme(self) -> Path:
        """The directory that virtme-ng is imported from."""
        return self.folder / "vng"


def find(folder: Path = CACHE) -> Image:
    """The image in ``folder``.

    :raise PrerequisiteMissing: there is none, or it is incomplete
    """
    path = folder / "manifest.json"
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=_Manifest)
    except FileNotFoundError as error:
        raise PrerequisiteMissing(f"the rig is not built: run `{BUILD}`") from error
    except (OSError, msgspec.DecodeError) as error:
        raise PrerequisiteMissing(
            f"cannot read {path}: {error}: remove it and run `{BUILD}`"
        ) from error
    image = Image(folder.absolute(), manifest.kernel, manifest.debian, manifest.virtme_ng)
    for part in (image.vmlinuz, image.programs, image.virtme):
        if not part.exists():
            raise PrerequisiteMissing(
                f"the rig is incomplete, {part} is missing: remove {path} and run `{BUILD}`"
            )
    return image
