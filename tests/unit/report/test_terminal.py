"""The report for people: words carry it, at 80 columns, with and without colour."""

import io
import re
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from harness.check.deviations import Deviation
from harness.check.verdict import Outcome
from harness.report import terminal
from harness.report.summary import Report
from tests.unit.saved_runs import (
    entry,
    finding,
    judged,
    lost,
    record,
    report,
    valid_run,
    violated_run,
)

PATH = Path("runs/liar-0001")


def told(found: Report, *, width: int = 80, has_colour: bool = False, runs_printed=False) -> str:
    out = io.StringIO()
    console = Console(
        file=out, width=width, highlight=False, markup=False, emoji=False,
        force_terminal=has_colour, color_system="standard" if has_colour else None,
    )  # fmt: skip
    terminal.print_report(console, found, runs_printed=runs_printed)
    return out.getvalue()


def flat(text: str) -> str:
    """``text`` as one line, however it was wrapped."""
    return " ".join(text.split())


def test_valid_run_names_each_requirement_with_its_verdict():
    text = told(report(entry(valid_run())))
    lines = [line for line in text.splitlines() if line.startswith("ORD-1 ")]
    assert len(lines) == 1
    assert lines[0].endswith("valid")
    assert "VIOLATED" not in text


def test_valid_run_ends_with_one_sentence_and_the_commands():
    text = told(report(entry(valid_run(), PATH)))
    assert "Valid: all " in text
    assert "vfio-multifd recheck runs/liar-0001" in text
    assert "vfio-multifd run runs/liar-0001/scenario.json" in text


def test_violation_shows_the_records_that_contradict_it_with_side_time_and_device():
    run = violated_run()
    text = flat(told(report(entry(run, PATH))))
    (evidence,) = [r for r in run.records if r.name == "received"]
    assert "ORD-1 VIOLATED in liar" in text
    seconds = (evidence.t_ns - run.manifest.started_ns) / 1e9
    assert f"{seconds:+.6f} s destination vfio0: device received" in text
    assert "vfio-multifd run runs/liar-0001/scenario.json" in text
    assert "VIOLATED: ORD-1." in text


def test_no_line_of_prose_is_wider_than_the_terminal():
    text = told(report(entry(violated_run(), PATH), entry(valid_run()), lost("short")))
    paths = ("source and destination:", "    judge again", "    run again")
    wide = [line for line in text.splitlines() if len(line) > 80]
    assert not [line for line in wide if not line.startswith(paths)]


def test_paths_and_commands_are_never_broken():
    path = Path("/a-very-long-folder-name" * 5) / "run-0001"
    text = told(report(entry(violated_run(), path)))
    assert f"vfio-multifd run {path}/scenario.json\n" in text
    assert f"vfio-multifd recheck {path}\n" in text


def test_path_with_a_blank_is_quoted_in_commands():
    text = told(report(entry(violated_run(), Path("my runs/x-0001"))))
    assert "vfio-multifd recheck 'my runs/x-0001'" in text


def test_lines_have_no_blanks_at_their_end():
    text = told(report(entry(violated_run(), PATH), entry(valid_run())))
    assert not [line for line in text.splitlines() if line != line.rstrip()]


def test_colour_adds_nothing_but_colour():
    found = report(entry(violated_run(), PATH), entry(valid_run()), lost())
    coloured = told(found, has_colour=True)
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured).split() == told(found).split()


def test_environment_can_switch_colours_off(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert terminal.console().no_color


def test_plain_console_writes_no_control_sequences_even_if_colour_is_forced(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    console = terminal.console(is_plain=True)
    console.file = io.StringIO()
    terminal.print_report(console, report(entry(violated_run())), runs_printed=False)
    assert "\x1b" not in console.file.getvalue()


def test_series_shows_in_which_runs_each_requirement_was_judged():
    both = report(entry(valid_run()), entry(violated_run()), entry(valid_run()))
    text = told(both)
    at = text.splitlines().index(next(x for x in text.splitlines() if x.startswith("ORD-1 ")))
    assert text.splitlines()[at].split()[-2:] == ["VIOLATED", "2"]
    assert text.splitlines()[at + 1].endswith("valid: 1, 3")


def test_what_is_not_applicable_is_reported_with_the_reason():
    text = flat(told(report(judged(finding("ORD-1", Outcome.VALID), SET_3="it is too new"))))
    assert "Not applicable:" in text
    assert "SET-3 (it is too new)" in text


def test_unknowns_with_one_reason_are_reported_together():
    why = "there is no trace"
    text = flat(
        told(
            report(
                judged(
                    finding("ORD-1", Outcome.UNKNOWN, why), finding("ORD-2", Outcome.UNKNOWN, why)
                )
            )
        )
    )
    assert "ORD-1, ORD-2 unknown in made there is no trace" in text
    assert "Unknown: ORD-1, ORD-2." in text


def test_lost_runs_with_one_error_are_reported_together():
    text = flat(told(report(entry(valid_run()), lost("no disk"), lost("no disk"))))
    assert text.count("no disk") == 1
    assert "LOST in runs 2-3 (says nothing about QEMU)" in text
    assert "2 of 3 runs LOST" in text


def test_violation_is_reported_before_a_loss_and_both_are():
    text = flat(told(report(entry(violated_run()), lost("no disk"))))
    assert "VIOLATED: ORD-1. 1 of 2 runs LOST: their results are unknown." in text


def test_interruption_is_the_last_word():
    text = told(report(entry(valid_run()), interrupted="run 2 of 3, slow"))
    assert flat(text).endswith("INTERRUPTED: run 2 of 3, slow. 1 run was judged before: 1 valid.")


def test_builds_are_reported_once_where_all_runs_used_the_same():
    text = told(report(entry(valid_run()), entry(violated_run())))
    assert text.count("QEMU 10.0.2 Debian, /usr/bin/qemu-system-x86_64") == 1


def test_runs_that_were_reported_as_they_ended_are_not_repeated():
    found = report(entry(valid_run(), PATH))
    assert "0.25 s" in told(found)
    assert "0.25 s" not in told(found, runs_printed=True)


@pytest.mark.parametrize(
    ("one", "word"), [(entry(valid_run()), "valid"), (entry(violated_run()), "VIOLATED"),
                      (lost(), "LOST")],
)  # fmt: skip
def test_line_of_a_run_has_its_verdict_in_words(one, word):
    out = io.StringIO()
    terminal.print_run(Console(file=out, width=80), 3, one)
    assert out.getvalue().split()[:2] == ["3", word]


def test_evidence_is_in_the_order_of_time():
    late, early = record("late", t_ns=2_000), record("early", t_ns=1_000)
    found = finding("ORD-1", Outcome.VIOLATED, evidence=(late, early))
    text = told(report(judged(found)))
    assert text.index("early") < text.index("late")


def test_run_that_a_known_deviation_interrupted_says_which_and_is_no_violation():
    known = Deviation(
        requirement="SET-4", case="a race", versions=">=10.0", shape="any", cause="it forgets"
    )
    found = report(replace(entry(violated_run(), PATH), known=known), entry(valid_run()))
    text = flat(told(found))
    assert "SET-4 known deviation in run 1, liar: a race known deviation: set-4-a-race" in text
    assert "cause: it forgets reproduce with: vfio-multifd repro set-4-a-race" in text
    assert "vfio-multifd run runs/liar-0001/scenario.json" in text
    assert "VIOLATED" not in text
    assert "1 of 2 runs met a known deviation: set-4-a-race." in text
    assert found.exit_status == 0


LIAR = Deviation(
    requirement="ORD-1", case="liar", versions=">=1.0", shape="bytes-differ", cause="it lies"
)


def test_violation_that_is_known_stays_one_and_is_named():
    """Deterministic: the exit status stays 1.  Without it no word of a known deviation."""
    plain = entry(violated_run(), PATH)
    found = report(replace(plain, explained={"ORD-1": LIAR}))
    text = told(found)
    assert "    known deviation: ord-1-liar\n    cause: it lies\n" in text
    assert "    reproduce with: vfio-multifd repro ord-1-liar\n" in text
    assert "VIOLATED: ORD-1." in text
    assert "1 of 1 run met a known deviation: ord-1-liar." in flat(text)
    assert found.exit_status == 1
    assert "known deviation" not in told(report(plain))


def test_commit_that_fixed_a_known_deviation_is_named():
    fixed = msgspec.structs.replace(LIAR, fixed_by="0123456789ab")
    text = told(report(replace(entry(violated_run(), PATH), explained={"ORD-1": fixed})))
    assert "    cause: it lies; fixed by 0123456789ab\n" in text


def test_requirement_whose_only_run_met_a_known_deviation_is_listed_as_not_judged():
    """Wrong if it is listed under "not applicable", or is counted among all that were judged."""
    known = Deviation(
        requirement="SET-4", case="a race", versions=">=10.0", shape="x", cause="it forgets"
    )
    other = judged(finding("SET-3", Outcome.VALID), ORD_1="no")
    text = flat(told(report(replace(entry(violated_run(), PATH), known=known), other)))
    left = text[text.index("Not judged: ") : text.index("Not applicable: ")]
    assert "ORD-1" in left
    assert "(met the known deviation set-4-a-race in run 1)" in left
    assert "ORD-1" not in text[text.index("Not applicable: ") : text.index("SET-4 known")]
    assert "Valid: all 1 judged requirement, in 2 runs." in text


def test_requirements_that_are_not_applicable_for_one_reason_are_listed_together():
    text = flat(told(report(entry(valid_run()))))
    assert re.search(r"Not applicable: .*SET-2 \(", text)
    reasons = re.findall(r"\(([^()]*)\)", text[text.index("Not applicable: ") :])
    assert len(reasons) == len(set(reasons))


def test_where_a_run_is_stuck_is_reported_after_its_findings():
    waits = replace(entry(violated_run(), PATH), stuck=("vfio0 waits for packet 3: it never came",))
    text = told(report(waits))
    assert "    vfio0 waits for packet 3: it never came\n" in text
    assert text.index("ORD-1 VIOLATED") < text.index("is stuck:") < text.index("directory")
    assert "is stuck:" not in told(report(entry(violated_run())))


def test_runs_that_were_left_out_are_named_with_the_reason_once(capsys):
    left_out = lost("/qemu: this build has no TLS").as_left_out()
    found = report(entry(valid_run()), left_out, replace(left_out, name="other"))
    terminal.print_report(terminal.console(is_plain=True), found, runs_printed=False)
    out = capsys.readouterr().out
    assert "left out" in out.splitlines()[1]
    assert "\nLeft out: gone, other\n    /qemu: this build has no TLS\n" in out
    assert "LOST" not in out
