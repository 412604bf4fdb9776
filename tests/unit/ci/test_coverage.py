"""Coverage of QEMU: what is read from gcov's data, what counts, which reasons match, what fails."""

import tomllib
from pathlib import Path

import msgspec
import pytest

from ci import coverage
from ci.coverage import Figures, GcovDocument, Line, Recorded, Share
from harness.vm import fetched

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT / "tests" / "data" / "coverage"
FILE = "hw/vfio/migration.c"


@pytest.fixture
def lines():
    """Of the recorded data: a program of ours, whose step fails nowhere."""
    document = msgspec.json.decode((DATA / "sample.gcov.json").read_bytes(), type=GcovDocument)
    (ours,) = [each for each in document.files if each.file.endswith("sample.c")]
    return coverage.lines_of(ours, (DATA / "sample.c").read_text().splitlines())


def line(text="return -1;", function="f", under="if (a) {", count=0, branches=()) -> Line:
    return Line(number=1, function=function, text=text, under=under, count=count, branches=branches)


def reason(**more) -> coverage.Reason:
    return coverage.Reason(file=FILE, why="cannot fail", **more)


# -- lines -----------------------------------------------------------------------------------


def test_lines_have_their_function_text_and_what_decides_about_them(lines):
    unseen = [(each.function, each.text, each.under) for each in lines if each.count == 0]
    assert ("step", "return -1;", "if (value < 0 ||") in unseen
    assert ("step", "failed = 1;", "if (value == 7) {") in unseen


def test_function_that_gcov_does_not_list_is_found_in_the_source(lines):
    assert {each.function for each in lines} == {"step", "never", "main"}
    functions = []
    source = ["static int never(int value)", "{", "    return value;", "}"]
    assert coverage._function(functions, source, 3) == "never"
    assert coverage._function(functions, source, 1) == "never"
    assert coverage._function(functions, ["/* text */"], 1) == ""


def test_label_does_not_decide_about_the_lines_under_it():
    source = ["void f(void)", "{", "    if (a) {", "out:", "        g();", "    }"]
    assert coverage._under(source, 5) == "if (a) {"
    assert coverage._under(["    switch (a) {", "    case 1:", "        g();"], 3) == "case 1:"


def test_branches_of_assertions_do_not_count(lines):
    (assertion,) = [each for each in lines if each.text.startswith("assert(")]
    assert assertion.count
    assert assertion.branches == ()


def test_figures_count_lines_and_branches_that_were_run_at_least_once():
    found = coverage.figures([line(count=3, branches=(3, 0)), line(), line(branches=(0, 0))])
    assert found == Figures(Share(1, 3), Share(1, 4))


def test_figures_of_the_recorded_data(lines):
    assert coverage.figures(lines) == Figures(Share(7, 11), Share(4, 8))


def test_nothing_is_covered_completely():
    assert coverage.figures([]).branches.percent == 100


# -- reasons ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "matches"),
    [
        ({"function": "f"}, True),
        ({"function": "g"}, False),
        ({"function": "f", "lines": ["return -1;"]}, True),
        ({"function": "f", "lines": ["return -2;"]}, False),
        ({"under": "if (a) {"}, True),
        ({"function": "f", "under": "if (b) {"}, False),
    ],
)
def test_reason_matches_by_function_text_and_deciding_line(given, matches):
    assert reason(**given).is_for(FILE, line()) is matches
    assert not reason(**given).is_for("migration/multifd.c", line())


def test_line_without_a_reason_is_printed_as_such():
    found = {FILE: [line(), line(text="other();", function="g"), line(count=1, text="ran();")]}
    said = "\n".join(coverage.never_run(found, [reason(function="f")]))
    assert "2 lines were never run, 1 of them without a reason" in said
    assert "f(): cannot fail" in said
    assert "g(): NO REASON IS GIVEN" in said
    assert "ran();" not in said


def test_reason_for_a_complete_file_is_refused():
    with pytest.raises(coverage.Failed, match="must not be for all of"):
        coverage.reasons_from(f'[[reason]]\nfile = "{FILE}"\nwhy = "x"')


@pytest.mark.parametrize("text", ["[[reason", '[[reason]]\nfile = "x.c"\nwhy = "y"\nline = "z"'])
def test_damaged_reasons_are_refused(text):
    with pytest.raises(coverage.Failed):
        coverage.reasons_from(text)


def test_reasons_of_the_tree_can_be_read():
    assert coverage.reasons_from(coverage.REASONS.read_text())


# -- what is recorded ------------------------------------------------------------------------


def test_less_than_recorded_fails():
    found = {FILE: Figures(Share(89, 100), Share(50, 100))}
    assert list(coverage.below(found, {FILE: Recorded(90, 50)})) == [
        f"{FILE}: 89.0 % of lines, below the recorded 90 %"
    ]
    assert list(coverage.below(found, {FILE: Recorded(89, 51)})) == [
        f"{FILE}: 50.0 % of branches, below the recorded 51 %"
    ]
    assert not list(coverage.below(found, {FILE: Recorded(89, 50)}))


def test_file_that_is_not_recorded_fails():
    found = {FILE: Figures(Share(1, 1), Share(1, 1))}
    assert "nothing is recorded" in next(coverage.below(found, {}))


def test_recorded_leaves_room_for_races():
    assert Figures(Share(199, 200), Share(2, 3)).recorded() == Recorded(98, 65)
    assert Figures(Share(1, 1), Share(0, 3)).recorded() == Recorded(99, 0)


def test_recorded_file_can_be_read_again():
    sections = {"10.2.2": {"main-job": {FILE: Recorded(90, 50.5)}}}
    text = coverage.text_of(sections)
    assert coverage.sections_from(text) == sections
    assert tomllib.loads(text)["10.2.2"]["main-job"][FILE]["branches"] == 50.5


def test_recorded_file_of_the_tree_has_each_file():
    for suites in coverage.sections_from(coverage.RECORDED.read_text()).values():
        for files in suites.values():
            assert tuple(files) == coverage.FILES


def test_partly_taken_branches_are_printed():
    found = {FILE: [line(text="if (a) {", count=4, branches=(4, 0)), line(branches=(0, 0))]}
    assert list(coverage.never_taken(found))[1:] == [
        f"{FILE}: 1 lines with a branch that was never taken",
        "        1  +-    if (a) {",
    ]


# -- the command -----------------------------------------------------------------------------


@pytest.fixture
def measured(monkeypatch, tmp_path, lines):
    """The files of one measurement of "10.2.2"; what is recorded is in ``tmp_path``."""
    monkeypatch.setattr(coverage, "RECORDED", tmp_path / "recorded.toml")
    monkeypatch.setattr(coverage, "ROOT", tmp_path)
    monkeypatch.setattr(coverage, "counted", lambda _version, _counters: {FILE: lines})
    coverage.RECORDED.write_text("")

    def run(*argv):
        monkeypatch.setattr("sys.argv", ["coverage", "10.2.2", "--again", *argv])
        return coverage.main()

    return run


def test_what_was_recorded_passes_and_less_fails(measured, capsys):
    assert measured() == 1
    assert "nothing is recorded" in capsys.readouterr().err
    assert measured("--record") == 0
    assert measured() == 0
    more = coverage.RECORDED.read_text().replace("lines = 62", "lines = 64")
    coverage.RECORDED.write_text(more)
    assert measured() == 1
    assert "63.6 % of lines, below the recorded 64 %" in capsys.readouterr().err


def test_suites_are_recorded_apart(measured):
    assert measured("--record", "--main-job") == 0
    assert measured() == 1


def test_no_counters_are_no_measurement(monkeypatch, tmp_path, capsys):
    notes = tmp_path / ".source" / "10.2.2" / "gcov" / "x.p" / "hw_vfio_migration-multifd.c.gcno"
    notes.parent.mkdir(parents=True)
    notes.write_bytes(b"")
    monkeypatch.setattr(fetched, "CACHE", tmp_path)
    monkeypatch.setattr(coverage, "COUNTERS", tmp_path / "counters")
    monkeypatch.setattr("sys.argv", ["coverage", "10.2.2", "--again"])
    assert coverage.main() == 3
    said = "no QEMU 10.2.2 has written hw_vfio_migration-multifd.c.gcda"
    assert said in capsys.readouterr().err
    of_another = tmp_path / "counters" / "10.2.2" / "functional" / "c" / ".source" / "10.0.13"
    data = of_another / "gcov" / "x.p" / "hw_vfio_migration-multifd.c.gcda"
    data.parent.mkdir(parents=True)
    data.write_bytes(b"")
    assert coverage.main() == 3
    assert said in capsys.readouterr().err


def test_build_that_loses_the_counters_of_killed_qemus_is_refused(monkeypatch, tmp_path):
    (tmp_path / "10.2.2-gcov").mkdir()
    (tmp_path / "10.2.2-gcov" / "qemu-system-x86_64").write_bytes(b"\x7fELF of an older recipe")
    monkeypatch.setattr(fetched, "CACHE", tmp_path)
    with pytest.raises(coverage.Failed, match="older recipe"):
        coverage.measure("10.2.2-gcov", coverage.MAIN_JOB, tmp_path / "counters")
