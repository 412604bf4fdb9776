"""JUnit XML of a report: what pipelines count is what the exit status says."""

import dataclasses
from pathlib import Path
from xml.etree import ElementTree

import junitparser
import pytest

from harness.check.verdict import Outcome
from harness.report import junit
from tests.unit.report.test_ci_points import known
from tests.unit.saved_runs import entry, finding, judged, lost, report, valid_run, violated_run


def document(*entries, **fields):
    return junit.render(report(*entries, **fields))


def suites(data):
    return {suite.name: suite for suite in junitparser.JUnitXml.fromstring(data)}


def cases(data, requirement):
    return {case.name: case for case in suites(data)[requirement]}


def test_requirement_is_a_suite_with_itself_as_property_and_a_case_for_each_run():
    data = document(entry(valid_run()), entry(violated_run()))
    suite = suites(data)["ORD-1"]
    properties = {found.name: found.value for found in suite.properties()}
    assert properties["requirement"] == "ORD-1"
    assert "index order" in properties["title"]
    assert list(cases(data, "ORD-1")) == ["valid", "liar"]
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (2, 1, 0, 0)


def test_each_verdict_has_its_result():
    run = judged(
        finding("ORD-1", Outcome.VIOLATED, "it was not"),
        finding("ORD-2", Outcome.UNKNOWN, "not seen"),
        finding("ORD-3", Outcome.VALID),
        REF_1="no faults",
    )
    data = document(run, known(dataclasses.replace(entry(violated_run()), name="k")), lost())
    told = {
        case.classname: [(type(r).__name__, r.message) for r in case.result]
        for suite in suites(data).values()
        for case in suite
    }
    assert told["vfio-multifd.ORD-1"] == [("Failure", "violated: it was not")]
    assert told["vfio-multifd.ORD-2"] == [("Error", "unknown: not seen")]
    assert told["vfio-multifd.ORD-3"] == []
    assert told["vfio-multifd.SET-4"] == [("Skipped", "known deviation: two threads")]
    assert told["vfio-multifd.REF-1"] == [("Skipped", "no faults")]
    assert told["vfio-multifd.harness"] == [("Error", "lost: source: QEMU ended at start")]


def test_failure_has_the_records_and_how_to_repeat_it():
    case = cases(document(entry(violated_run(), Path("runs/liar-0001"))), "ORD-1")["liar"]
    text = case.result[0].text
    assert "device received" in text
    assert "run directory: runs/liar-0001\n" in text
    assert "run again: vfio-multifd run runs/liar-0001/scenario.json\n" in text


def test_valid_case_has_its_run_directory_too():
    case = cases(document(entry(valid_run(), Path("runs/valid-0001"))), "ORD-1")["valid"]
    assert "run directory: runs/valid-0001\n" in case.system_out


def test_time_of_all_cases_is_that_of_the_runs():
    root = ElementTree.fromstring(document(entry(valid_run()), lost()))
    times = [float(case.get("time")) for case in root.iter("testcase")]
    assert sum(times) == float(root.get("time")) == 1.25


def test_what_xml_cannot_hold_is_replaced():
    root = ElementTree.fromstring(document(lost("a\x00b \x1b[1m<&>")))
    (error,) = root.iter("error")
    assert (
        error.get("message") == "lost: a\N{REPLACEMENT CHARACTER}b \N{REPLACEMENT CHARACTER}[1m<&>"
    )


def test_document_fits_the_schemas_of_jenkins_and_surefire():
    """junit-10.xsd of Jenkins' xunit plugin, and surefire-test-report.xsd for each suite."""
    allowed = {
        "testsuites": {"name", "time", "tests", "failures", "errors"},
        "testsuite": {"name", "time", "tests", "failures", "errors", "skipped"},
        "testcase": {"name", "classname", "time"},
        "property": {"name", "value"},
        "properties": set(),
        "failure": {"message", "type"},
        "error": {"message", "type"},
        "skipped": {"message"},
        "system-out": set(),
    }
    data = document(
        entry(valid_run()), entry(violated_run()), known(entry(violated_run())), lost(),
        judged(finding("ORD-2", Outcome.UNKNOWN)),
    )  # fmt: skip
    seen = set()
    for element in ElementTree.fromstring(data).iter():
        assert set(element.attrib) <= allowed[element.tag], element.tag
        seen.add(element.tag)
        if element.tag == "testcase":
            tags = [child.tag for child in element]
            assert tags in ([], ["system-out"], ["failure"], ["error"], ["skipped"]) or (
                tags == ["skipped", "system-out"]
            )
    assert {"failure", "error", "skipped", "property"} <= seen


@pytest.mark.parametrize(
    "made", [report(), report(entry(valid_run()), interrupted="run 2"), report(lost())]
)
def test_report_of_nothing_judged_is_not_green(made):
    root = ElementTree.fromstring(junit.render(made))
    assert int(root.get("errors")) >= 1


def test_run_that_was_left_out_is_skipped_with_its_reason():
    left_out = lost("/qemu: this build has no TLS").as_left_out()
    root = ElementTree.fromstring(document(entry(valid_run()), left_out))
    (case,) = [case for case in root.iter("testcase") if case.get("name") == "gone"]
    (skipped,) = case
    assert skipped.tag == "skipped"
    assert skipped.get("message") == "left out: /qemu: this build has no TLS"


def test_requirement_that_met_a_known_deviation_is_skipped_with_its_name():
    (case,) = suites(document(known(entry(violated_run()))))["ORD-1"]
    words = "not judged: met the known deviation set-4-it-competes in run 1"
    assert [(type(r).__name__, r.message) for r in case.result] == [("Skipped", words)]
