"""The report for programs: one JSON document.

::

    {
      "harness": "0.1.0", "overall": "valid" | "violated" | "unknown" | "lost" | "usage" |
      "interrupted",
      "exit_status": 0,
      "runs": [{"name", "path", "outcome", "known", "deviations", "seconds", "error", "missing",
                "left_out", "source", "destination", "stuck": [...],
                "verdict": {"overall", "findings": [...], "not_applicable": {...}},
                "measured": {"downtime_ms", ...},
                "repeat": [...], "recheck": [...]}],
      "requirements": [{"id", "title", "outcome", "valid", "violated", "unknown", "met_known",
                        "why_not"}],
      "baseline": {"exit_status", "changes": [...], "pairs": [...], ...}
    }

Of a run:

- ``verdict``: as in verdict.json
- ``measured``: as in ``measure.measured``
- ``stuck``: where the migration is stuck; empty if it ended
- ``known``: the intermittent known deviation that interrupted the run, or null
- ``deviations``: for each violation that is a known deviation, the requirement (``seen_in``) and
  the deviation's ``name``, ``case``, ``cause``, ``fixed_by`` (a commit, or empty) and ``repro``,
  the command that reproduces it
- ``missing``: whether the run was lost because this machine or build lacks something
- ``left_out``: why the main job left the run out, or empty

Of a requirement:

- ``outcome``: the worst of all runs, "not judged" (all its runs met known deviations), or "not
  applicable"
- ``valid``, ``violated``, ``unknown``: numbers of runs, from 1
- ``met_known``: numbers of the runs that a known deviation kept from judging it

``baseline`` is there if the runs were compared with others (``report.comparison``).
"""

from typing import Any

import msgspec

import harness
from harness.check.deviations import Deviation
from harness.check.verdict import Outcome
from harness.errors import LOST, USAGE
from harness.history.builds import BuildFacts
from harness.report import comparison_text
from harness.report.comparison import Comparison
from harness.report.summary import Entry, Report, show_again

_OVERALL = {0: "valid", 1: "violated", 2: "unknown", LOST: "lost", USAGE: "usage"}


def document(report: Report, baseline: Comparison | None = None) -> bytes:
    """The document, with a newline at its end."""
    compared = {} if baseline is None else {"baseline": comparison_text.document(baseline)}
    return _encode(
        {
            "harness": harness.__version__,
            "overall": "interrupted" if report.interrupted else _OVERALL[report.exit_status],
            "exit_status": report.exit_status,
            "runs": [_run(report, entry) for entry in report.entries],
            "requirements": [
                {
                    "id": row.requirement,
                    "title": row.title,
                    "outcome": row.outcome or ("not judged" if row.met else "not applicable"),
                    **{outcome.value: row.runs(outcome) for outcome in Outcome},
                    "met_known": list(row.met),
                    "why_not": row.why_not or row.why_not_judged,
                }
                for row in report.rows()
            ],
            **compared,
        }
    )


def compared(comparison: Comparison) -> bytes:
    """The document of a comparison alone: the fields of ``baseline``."""
    return _encode({"harness": harness.__version__, **comparison_text.document(comparison)})


def failure(error: str, *, missing: bool, exit_status: int) -> bytes:
    """The document if there is only ``error`` to report.

    :param missing: whether this machine or build lacks something
    """
    return _encode(
        {
            "harness": harness.__version__,
            "overall": _OVERALL[exit_status],
            "exit_status": exit_status,
            "error": error,
            "missing": missing,
            "runs": [],
            "requirements": [],
        }
    )


def _run(report: Report, entry: Entry) -> dict[str, Any]:
    manifest = entry.manifest
    return {
        "name": entry.name,
        "path": str(entry.path) if entry.path is not None else None,
        "outcome": _outcome(entry),
        "known": _deviation(entry.known) if entry.known is not None else None,
        "deviations": [
            {"seen_in": requirement, **_deviation(deviation)}
            for requirement, deviation in entry.explained.items()
        ],
        "seconds": entry.seconds if entry.seconds is None else round(entry.seconds, 3),
        "error": entry.error,
        "missing": entry.missing,
        "left_out": entry.left_out,
        "source": _build(manifest.source) if manifest is not None else None,
        "destination": _build(manifest.destination) if manifest is not None else None,
        "stuck": entry.stuck,
        "verdict": entry.verdict,
        "measured": entry.measured,
        "repeat": report.repeat(entry),
        "recheck": entry.recheck,
    }


def _outcome(entry: Entry) -> str:
    if entry.left_out:
        return "left out"
    return "known deviation" if entry.known else entry.outcome or "lost"


def _deviation(known: Deviation) -> dict[str, Any]:
    return {
        "name": known.name,
        "requirement": known.requirement,
        "case": known.case,
        "versions": known.versions,
        "cause": known.cause,
        "fixed_by": known.fixed_by,
        "intermittent": known.intermittent,
        "repro": show_again(known),
    }


def _build(facts: BuildFacts) -> dict[str, str]:
    return {"path": facts.path, "version": facts.version_text, "machine": facts.machine}


def _encode(found: dict[str, Any]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n"
