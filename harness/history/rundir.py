"""The **run directory**: one run on disk, which can be judged again later.

::

    NAME-0001/
      manifest.json     format version, builds, times, digests of the next two files, whether
                        the run is complete
      scenario.json     what was run (harness.scenario)
      history.jsonl     one Record per line, sorted by time
      verdict.json      the verdict when the run was made
      source-trace/  destination-trace/   trace logs as QEMU wrote them, one for each thread
      source.stderr  destination.stderr   QEMU's standard error
      source.console  destination.console   the guest's console, if there was a guest
      by-hand.sh        starts the same two QEMUs by hand
      tls/  sockets/    credentials (harness.vm.credentials) and the sockets of the migration
                        (harness.vm.sockets) during the run; left behind only by SIGKILL
      migration.capture  what the source sent, if requested (harness.proxy.capture)

Only its owner can enter it and read its files (harness.history.private): it holds a guest's RAM
and registers.  It is the working directory of its QEMUs.

The verdict depends on the first three files only.  Whatever is wrong with them is a
``HistoryError`` of one line: what, where, what to do.
"""

import contextlib
import gc
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import xxhash

from harness import scenario as scenarios
from harness.errors import HistoryError, UsageError, in_words, is_bad_path, refusal
from harness.history import contract, private
from harness.history.builds import BuildFacts
from harness.history.records import Event, Record
from harness.scenario import Scenario

FORMAT = 2
"""Version of the run directory's format that this harness writes.  It reads all versions; 1 had no
digests."""

MANIFEST = "manifest.json"
SCENARIO = "scenario.json"
HISTORY = "history.jsonl"
VERDICT = "verdict.json"
SOURCE_TRACE, DESTINATION_TRACE = "source-trace", "destination-trace"
SOURCE_STDERR, DESTINATION_STDERR = "source.stderr", "destination.stderr"
SOURCE_CONSOLE, DESTINATION_CONSOLE = "source.console", "destination.console"
BY_HAND = "by-hand.sh"
CAPTURE = "migration.capture"
TLS = "tls"


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What was run with which builds, and whether the run directory is complete."""

    format: int = FORMAT
    harness: str
    """Version of the harness that made the run."""
    scenario: str
    """The scenario's name."""
    started_ns: int
    ended_ns: int
    source: BuildFacts
    destination: BuildFacts
    complete: bool
    """Whether the run came to its end and the history has all its records."""
    records: int = -1
    """Lines of history.jsonl, by which a truncated file is noticed; -1 if not counted."""
    scenario_digest: str = ""
    """xxh3_128 of scenario.json, hex: an edited file is no evidence."""
    history_digest: str = ""
    """The same of history.jsonl."""


class _Version(msgspec.Struct):
    """The one field that every format of the manifest has."""

    format: int


@dataclass(frozen=True, slots=True)
class History:
    """All records of one run, sorted by time."""

    scenario: Scenario
    manifest: Manifest
    records: Sequence[Record]


class RunDir:
    """A run directory that is being written.  Each file appears complete or not at all.

    :ivar path: as given, for messages
    :ivar folder: the absolute path, for QEMU, whose working directory differs
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = path.absolute()
        self._records = -1
        self._digests: dict[str, str] = {}

    @classmethod
    def create(cls, parent: Path, name: str) -> "RunDir":
        """Make a new directory below ``parent``, also when several callers do so at once.

        A missing ``parent`` is made, as private as the directory itself.

        :raise HarnessError: ``parent`` cannot be made or written
        """
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "run"
        pattern = re.compile(re.escape(stem) + r"-(\d+)")
        try:
            private.make_folders(parent)
            taken = [pattern.fullmatch(entry.name) for entry in parent.iterdir()]
            number = 1 + max((int(match[1]) for match in taken if match), default=0)
            while True:
                path = parent / f"{stem}-{number:04}"
                try:
                    private.make_folder(path)
                except FileExistsError:
                    number += 1
                else:
                    return cls(path)
        except OSError as error:
            raise refusal(f"{parent}: cannot make a run directory", error) from error

    def write_scenario(self, scenario: Scenario) -> None:
        """Write scenario.json."""
        self._write(SCENARIO, scenarios.to_json(scenario))

    def write_history(self, records: Iterable[Record]) -> int:
        """Write history.jsonl, sorted by time; return the number of records.

        Records of the same time keep the order in which they are given.
        """
        ordered = sorted(records, key=lambda record: record.t_ns)
        self._write(HISTORY, msgspec.json.Encoder().encode_lines(ordered))
        self._records = len(ordered)
        return self._records

    def write_manifest(self, manifest: Manifest) -> Manifest:
        """Write manifest.json, last of all, with the digests of the files written before."""
        if manifest.records < 0:
            manifest = msgspec.structs.replace(manifest, records=self._records)
        manifest = msgspec.structs.replace(
            manifest,
            format=FORMAT,
            scenario_digest=self._digests.get(SCENARIO, ""),
            history_digest=self._digests.get(HISTORY, ""),
        )
        self._write(MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
        return manifest

    def write_verdict(self, verdict: bytes) -> None:
        """Write verdict.json."""
        self._write(VERDICT, verdict)

    def _write(self, name: str, data: bytes) -> None:
        temporary = self.path / f".{name}.new"
        try:
            private.write(temporary, data)
            temporary.replace(self.path / name)
            self._digests[name] = xxhash.xxh3_128_hexdigest(data)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise refusal(f"{self.path / name}: cannot write", error) from error


def load(path: Path) -> History:
    """Load the run in the directory ``path``.

    :raise UsageError: there is no such directory, or it cannot be read
    :raise HistoryError: it is no run directory, or of a newer format, damaged or incomplete
    """
    if not path.is_dir():
        what = "not a directory" if path.exists() else "no such directory"
        raise UsageError(f"{path}: {what}; give a run directory, one with a {MANIFEST}")
    manifest = _manifest(path / MANIFEST)
    try:
        scenario = scenarios.from_json(_read(path / SCENARIO), str(path / SCENARIO))
    except UsageError as error:
        raise HistoryError(str(error)) from error
    except UnicodeDecodeError as error:
        raise HistoryError(f"{path / SCENARIO}: not a scenario: {error}") from error
    records = read_records(path / HISTORY)
    if 0 <= manifest.records != len(records):
        raise HistoryError(
            f"{path / HISTORY}: has {len(records)} records, the manifest says "
            f"{manifest.records}; the file was truncated or appended to; repeat the run"
        )
    contract.check(records, scenario, str(path / HISTORY))
    if manifest.format > 1:
        _compare(path / SCENARIO, manifest.scenario_digest)
        _compare(path / HISTORY, manifest.history_digest)
    return History(scenario, manifest, records)


def _compare(path: Path, digest: str) -> None:
    """Compare the file ``path`` with what the run wrote.

    :raise HistoryError: it differs
    """
    if digest_of(path) != digest:
        raise HistoryError(
            f"{path}: its digest is not that in the manifest: the file was edited, so it is no "
            "evidence; repeat the run"
        )


def digest_of(path: Path) -> str:
    """xxh3_128 of the file ``path``, hex, as in the manifest.

    :raise HistoryError: it cannot be read
    """
    return xxhash.xxh3_128_hexdigest(_read(path))


def read_records(path: Path) -> list[Record]:
    """Read the records in the file ``path``, which must be sorted by time.

    :raise HistoryError: it cannot be read; the message names the first bad line
    """
    data = _read(path)
    with _no_garbage_collection():
        try:
            events = msgspec.json.Decoder(Event).decode_lines(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise HistoryError(_first_bad_line(path, data)) from None
        records = contract.typed(events, str(path))
    last = 0
    for number, record in enumerate(records, 1):
        if record.t_ns < last:
            raise HistoryError(
                f"{path}: line {number}: earlier than the line before it; "
                "the lines must be sorted by t_ns"
            )
        last = record.t_ns
    return records


def _manifest(path: Path) -> Manifest:
    if not path.exists():
        raise HistoryError(
            f"{path.parent}: no {MANIFEST}: not a run directory, or the run was interrupted; "
            "repeat the run"
        )
    data = _read(path)
    try:
        made_by = msgspec.json.decode(data, type=_Version).format
        if made_by > FORMAT:
            raise HistoryError(
                f"{path}: made by a newer harness: format {made_by}, this one reads up to {FORMAT}"
            )
        return msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HistoryError(f"{path}: not a manifest: {error}; repeat the run") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        if is_bad_path(error) and not isinstance(error, FileNotFoundError):
            raise refusal(f"{path}: cannot read", error) from error
        raise HistoryError(
            f"{path}: cannot read: {in_words(OSError(error.errno, error.strerror))}; "
            "the run directory is incomplete"
        ) from error


def _first_bad_line(path: Path, data: bytes) -> str:
    """One line that names the first line of ``data`` that is no record, and why."""
    decoder = msgspec.json.Decoder(Event)
    lines = data.split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            decoder.decode(line)
        except msgspec.ValidationError as error:
            return f"{path}: line {number}: not a record: {error}"
        except msgspec.DecodeError as error:
            if number == len(lines):
                return (
                    f"{path}: line {number}: truncated last line; the run was interrupted or "
                    "the disk was full; repeat the run"
                )
            return f"{path}: line {number}: not JSON: {error}"
        except UnicodeDecodeError as error:
            return f"{path}: line {number}: not UTF-8: {error}"
    return f"{path}: not lines of records"


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Without the search for cycles: none of the millions of new objects is garbage."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
