"""Run directories and reports made of synthetic histories, for tests of what reports them."""

import gzip
from pathlib import Path

import msgspec

from harness.check.judge import TITLES, judge
from harness.check.verdict import Finding, Outcome, Verdict
from harness.history import Kind, Record
from harness.history.by_type import ByType
from harness.history.device import Received
from harness.history.rundir import History, RunDir, load
from harness.report.summary import Entry, Report
from tests.unit.check.histories import SRC, START, completed, device, replaced, scenario

MS = 10**6


def save(history: History, parent: Path, name: str = "") -> Path:
    """``history`` as a run directory below ``parent``."""
    rundir = RunDir.create(parent, name or history.scenario.name)
    rundir.write_scenario(history.scenario)
    rundir.write_history(history.records)
    rundir.write_manifest(history.manifest)
    return rundir.path


def load_compressed(path: Path, into: Path) -> History:
    """The run in ``path``, whose files may be compressed; ``into`` is an empty directory."""
    for file in path.iterdir():
        data = file.read_bytes()
        if file.suffix == ".gz":
            (into / file.stem).write_bytes(gzip.decompress(data))
        else:
            (into / file.name).write_bytes(data)
    return load(into)


def valid_run() -> History:
    return completed(scenario(device(), name="valid"))


def violated_run() -> History:
    """The destination got other bytes than the source gave."""
    run = completed(scenario(device(), name="liar"))
    (received,) = ByType(run.records).of(Received)
    args = msgspec.structs.replace(received.args, digest="f" * 32, first_difference=1048576)
    return replaced(run, received, args=args)


def entry(history: History, path: Path | None = None) -> Entry:
    verdict = judge(history)
    return Entry(
        name=history.scenario.name,
        path=path,
        manifest=history.manifest,
        verdict=verdict,
        seconds=0.25,
    )


def lost(error: str = "source: QEMU ended at start", path: Path | None = None) -> Entry:
    return Entry(name="gone", path=path, error=error, seconds=1.0)


def report(*entries: Entry, **fields) -> Report:
    return Report(entries=entries, titles=TITLES, **fields)


def finding(requirement: str, outcome: Outcome, sentence: str = "so it was", **fields) -> Finding:
    return Finding(requirement=requirement, outcome=outcome, sentence=sentence, **fields)


def judged(*findings: Finding, name: str = "made", **not_applicable: str) -> Entry:
    """A run with just these findings."""
    ids = {key.replace("_", "-"): why for key, why in not_applicable.items()}
    manifest = valid_run().manifest
    return Entry(name=name, manifest=manifest, verdict=Verdict.of(findings, ids))


def record(name: str = "arc", **fields) -> Record:
    return Record(
        **{"t_ns": START + 5 * MS, "side": SRC, "kind": Kind.DEVICE, "name": name, **fields}
    )
