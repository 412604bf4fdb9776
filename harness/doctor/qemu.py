"""The QEMU builds that are there; each is started and queried."""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.doctor.check import Check, State
from harness.errors import HarnessError, PrerequisiteMissing
from harness.trace.catalogue import Catalogue
from harness.vm import builds, fetched

TRANSFER = "x-migration-multifd-transfer"
_FETCH = f"{builds.FETCH} {builds.DEFAULT}"


def all_of(given: Sequence[str]) -> Iterator[Check]:
    """The builds that were given, which must all be fit.

    If none was given, all that are there, of which the one that a run would use must be fit.
    """
    if given:
        for name in given:
            try:
                path = builds.find(name)
            except HarnessError as error:
                yield Check("QEMU", State.MISSING, str(error), f"use another --qemu, or {_FETCH}")
            else:
                yield one(path, is_needed=True)
        return
    try:
        chosen: Path | None = builds.find()
    except HarnessError as error:
        chosen = None
        yield Check("QEMU", State.MISSING, str(error), _FETCH)
    for path in _candidates(chosen):
        yield one(path, is_needed=path == chosen)


def _candidates(chosen: Path | None) -> list[Path]:
    """The one that a run uses, then the others that are there."""
    on_path = shutil.which(builds.BINARY)
    named = os.environ.get(builds.ENVIRONMENT, "")
    found = [
        chosen,
        Path(named).absolute() if named and Path(named).is_file() else None,
        Path(on_path) if on_path else None,
        *fetched.binaries(),
    ]
    return list(dict.fromkeys(path for path in found if path is not None))


def one(path: Path, *, is_needed: bool) -> Check:
    """Whether the build at ``path`` is fit for the main job."""
    try:
        found = _fitness(path)
    except HarnessError as error:
        state = State.MISSING if is_needed else State.OPTIONAL
        return Check("QEMU", state, str(error), f"use another --qemu, or {_FETCH}")
    note = "" if is_needed else f" (to use it: --qemu {path})"
    return Check("QEMU", State.OK, f"{found}, {path}{note}")


def _fitness(path: Path) -> str:
    """The version of a build that has all that the main job needs.

    :raise HarnessError: names what it lacks
    """
    probe = builds.probe_now(path)
    lacks = [
        name
        for name, is_there in (
            (f"the vfio-pci property {TRANSFER}", TRANSFER in probe.facts.vfio_pci_properties),
            ("the migration capability multifd", "multifd" in probe.facts.capabilities),
            ("the log trace backend", probe.has_log_backend),
        )
        if not is_there
    ]
    if lacks:
        raise PrerequisiteMissing(f"{path}: this build lacks {', '.join(lacks)}")
    events = builds.trace_events_path(path)
    try:
        Catalogue.parse(events.read_text(), str(events))
    except OSError as error:
        raise PrerequisiteMissing(f"{events}: cannot read: {error.strerror}") from error
    return probe.facts.version_text
