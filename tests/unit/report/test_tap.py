"""TAP of a report: what consumers count is what the exit status says."""

import dataclasses
import json
import re
import shutil
import subprocess

import pytest

from harness.check.verdict import Outcome
from harness.report import tap
from tests.unit.report.test_ci_points import known
from tests.unit.saved_runs import entry, finding, judged, lost, report, valid_run, violated_run


def lines(*entries, **fields):
    return tap.render(report(*entries, **fields)).splitlines()


def results(found):
    return [line for line in found if re.match(r"(not )?ok ", line)]


def test_plan_comes_first_and_the_points_are_numbered():
    found = lines(entry(valid_run()), entry(violated_run()))
    told = results(found)
    assert found[:2] == ["TAP version 13", f"1..{len(told)}"]
    assert [int(re.search(r"ok (\d+) - ", line)[1]) for line in told] == [*range(1, len(told) + 1)]


def test_directives_say_what_is_known_and_what_is_not_applicable():
    found = results(lines(known(entry(violated_run())), judged(REF_1="the scenario has no faults")))
    (todo,) = [line for line in found if "# TODO" in line]
    assert re.fullmatch(
        r"not ok \d+ - SET-4 in liar: it competes # TODO known deviation: two threads", todo
    )
    (skipped,) = [line for line in found if "REF-1:" in line]
    assert skipped.endswith(" # SKIP the scenario has no faults")
    assert skipped.startswith("ok ")


def test_diagnostics_are_yaml_of_quoted_strings():
    run = judged(finding("ORD-1", Outcome.VIOLATED, 'a "b"\nc: d'))
    found = lines(dataclasses.replace(run, stuck=("it waits",)))
    at = next(n for n, line in enumerate(found) if line.startswith("not ok"))
    assert found[at + 1] == "  ---"
    block = found[at + 2 : found.index("  ...", at)]
    told = dict(line.strip().split(": ", 1) for line in block if ": " in line)
    assert json.loads(told["message"]) == 'a "b"\nc: d'
    assert json.loads(told["verdict"]) == "violated"
    assert block[block.index("  stuck:") + 1] == '    - "it waits"'
    assert all(re.fullmatch(r"  \w+:( \".*\")?|    - \".*\"", line) for line in block)


def test_what_a_name_holds_begins_no_directive_and_no_line():
    found = lines(dataclasses.replace(lost(), name="a # TODO b\nok 1"))
    (line,) = [line for line in results(found) if line.startswith("not ok")]
    assert "a \\# TODO b ok 1" in line


@pytest.mark.skipif(shutil.which("prove") is None, reason="prove (perl) is not installed")
@pytest.mark.parametrize(
    "made",
    [
        report(entry(valid_run())),
        report(entry(valid_run()), known(entry(violated_run()))),
        report(entry(violated_run())),
        report(entry(valid_run()), lost("gone # TODO\n\x1b[1mbad")),
        report(judged(finding("ORD-1", Outcome.UNKNOWN))),
        report(known(entry(violated_run()))),
        report(),
        report(entry(valid_run()), interrupted="run 2"),
    ],
    ids=["valid", "known", "violated", "lost", "unknown", "all-known", "none", "interrupted"],
)
def test_perls_harness_passes_it_exactly_if_the_exit_status_is_0(made, tmp_path):
    path = tmp_path / "report.tap"
    path.write_text(tap.render(made))
    done = subprocess.run(
        ["prove", "--exec", "cat", str(path)], capture_output=True, text=True, check=False
    )
    assert "Parse errors" not in done.stdout, done.stdout
    assert (done.returncode == 0) == (made.exit_status == 0), done.stdout


def test_run_that_was_left_out_is_skipped_with_its_reason():
    left_out = lost("/qemu: this build has no TLS").as_left_out()
    (line,) = [line for line in results(lines(entry(valid_run()), left_out)) if "gone" in line]
    assert line.startswith("ok ")
    assert line.endswith(" # SKIP /qemu: this build has no TLS")


def test_requirement_that_met_a_known_deviation_is_skipped_with_its_name():
    found = results(lines(known(entry(violated_run()))))
    (skipped,) = [line for line in found if "ORD-1:" in line]
    assert skipped.startswith("ok ")
    assert skipped.endswith(
        " # SKIP not judged: met the known deviation set-4-it-competes in run 1"
    )
