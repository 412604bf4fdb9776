"""The HTML report: one file that needs nothing else, bounded, with the verdict in words first."""

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import msgspec
import pytest

from harness.check.verdict import Outcome
from harness.history import Side
from harness.history.process import Launched
from harness.history.rundir import History
from harness.history.session import Actions, Faults
from harness.report import html
from harness.report.summary import Entry
from harness.scenario.action_plan import Execute, Target, status
from harness.scenario.fault_plan import Drop, Select
from tests.unit.report.moments import START, buffer, loaded, of, qmp, run
from tests.unit.report.test_ci_points import KNOWN, known
from tests.unit.saved_runs import (
    entry,
    finding,
    judged,
    lost,
    report,
    save,
    valid_run,
    violated_run,
)

VOID = {"meta", "br"}
FOLDER = Path("/reports")


class Page(HTMLParser):
    """What a browser would make of it: text, links, ids; fails on tags that do not match."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.text, self.links, self.tags, self.open = "", [], [], []
        self.ids, self.runs = set(), {}
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append((tag, found))
        self.links += [found["href"]] if "href" in found else []
        self.ids |= {found["id"]} if "id" in found else set()
        if tag == "details" and "id" in found:
            self.runs[found["id"]] = "open" in found
        if tag not in VOID:
            self.open.append(tag)
        elif tag == "br":
            self.text += " "

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag in ("td", "th", "p", "summary"):
            self.text += " "

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "title"):
            self.text += data


def page(*entries, histories=None, folder=FOLDER, **fields):
    return Page(html.render(report(*entries, **fields), histories or {}, folder=folder))


def drawn(history: History, **fields):
    """A run with its history: the part that the history adds, too."""
    made = judged(finding("ORD-1", Outcome.VALID), name="drawn")
    made = dataclasses.replace(made, path=Path("/runs/drawn"), **fields)
    return page(made, histories={made.path: history})


def in_order(text, *parts):
    places = [text.index(part) for part in parts]
    return places == sorted(places)


def test_file_needs_neither_network_nor_script():
    found = page(entry(valid_run()), entry(violated_run()), lost())
    assert {tag for tag, _ in found.tags} & {"script", "link", "img", "iframe", "object"} == set()
    assert not [a for _, a in found.tags if {"src", "xlink:href", "srcset"} & set(a)]
    assert not [link for link in found.links if "://" in link or link.startswith("//")]
    assert "url(" not in html.render(report(), {}, folder=FOLDER)


@pytest.mark.parametrize(
    ("entries", "fields", "sentence"),
    [
        ((entry(valid_run()),), {}, r"Valid: all \d+ applicable requirements, in 1 run\."),
        (
            (entry(violated_run()), lost()),
            {},
            r"VIOLATED: ORD-1. 1 of 2 runs LOST: their results are unknown\.",
        ),
        ((lost(),), {}, r"1 of 1 run LOST: their results are unknown\."),
        ((judged(finding("ORD-1", Outcome.UNKNOWN)),), {}, r"Unknown: ORD-1\."),
        ((), {}, r"Nothing was judged\."),
        ((entry(valid_run()),), {"interrupted": "run 2"}, r"INTERRUPTED: run 2\."),
    ],
)
def test_first_sentence_says_what_the_exit_status_says(entries, fields, sentence):
    text = page(*entries, **fields).text
    assert re.match(rf"\s*vfio-multifd\s+{sentence}\s", text), text[:200]
    assert f"exit status {report(*entries, **fields).exit_status}." in text


def test_verdict_in_words_comes_before_the_records_and_those_before_the_rest():
    run_dir = Path("/runs/liar-0001")
    one = dataclasses.replace(entry(violated_run(), run_dir), stuck=("vfio0 waits",))
    found = page(one, histories={run_dir: violated_run()})
    text = found.text[found.text.index("Runs\n") :]
    assert in_order(
        text,
        "VIOLATED",
        "ORD-1",
        one.verdict.finding("ORD-1").sentence,
        "device received",
        "Where it is stuck",
        "vfio0 waits",
        "Timeline",
        "QEMU command lines",
        "vfio-multifd run /runs/liar-0001/scenario.json",
        "vfio-multifd recheck /runs/liar-0001",
    )
    assert found.runs == {"run-1": True}


def test_valid_run_is_folded_and_every_link_in_the_page_leads_somewhere():
    found = page(entry(violated_run()), entry(valid_run()), lost())
    assert found.runs == {"run-1": True, "run-2": False, "run-3": True}
    inner = {link.removeprefix("#") for link in found.links if link.startswith("#")}
    assert inner
    assert inner <= found.ids


def test_matrix_has_a_column_for_each_pair_of_builds():
    newer = valid_run()
    build = msgspec.structs.replace(
        newer.manifest.destination, version=(11, 1, 3), version_text="11.1.3", path="/new"
    )
    manifest = msgspec.structs.replace(newer.manifest, destination=build)
    bad = entry(violated_run())
    found = page(entry(valid_run()), dataclasses.replace(bad, manifest=manifest))
    text = " ".join(found.text.split())
    assert "id requirement 10.0.2 10.0.2 \N{RIGHTWARDS ARROW} 11.1.3" in text
    row = text[text.index("ORD-1 Buffers") : text.index("ORD-2 A buffer")]
    assert row.split()[-4:] == ["VIOLATED", "violated:", "run", "2"]
    assert "valid" in row.split()
    assert "destination: QEMU 11.1.3, /new" in text


def test_violation_that_is_known_is_named_and_stays_one():
    run = dataclasses.replace(entry(violated_run()), explained={"ORD-1": KNOWN})
    text = " ".join(page(run).text.split())
    assert "Known deviation: set-4-it-competes; cause: two threads;" in text
    assert "VIOLATED: ORD-1." in text
    assert "Known deviation" not in page(entry(violated_run())).text


def test_known_deviation_is_neither_valid_nor_violated_in_the_matrix():
    found = page(known(entry(violated_run())), entry(valid_run()))
    text = " ".join(found.text.split())
    assert "not judged, met the known deviation set-4-it-competes: run 1" in text
    assert "SET-4: it competes. Known deviation: set-4-it-competes; cause: two threads;" in text
    assert "reproduce with vfio-multifd repro set-4-it-competes" in text
    assert "Violated" not in text


def test_requirement_that_is_not_applicable_has_the_reason():
    text = page(judged(finding("ORD-1", Outcome.VALID), REF_1="the scenario has no faults")).text
    assert "the scenario has no faults" in text[text.index("Not applicable") : text.index("Runs\n")]


def test_what_others_wrote_cannot_become_markup():
    evil = "<script>alert(1)</script>\"'&"
    found = page(dataclasses.replace(lost(evil), name=evil, path=Path(f"/x/{evil}")))
    assert "script" not in {tag for tag, _ in found.tags}
    assert evil in found.text


def test_faults_actions_and_what_came_of_them_are_a_line_each():
    history = run(
        of(9, Side.HARNESS, Faults(fired=[2])),
        of(9, Side.HARNESS, Actions(done=[False])),
        faults=(Drop(select=Select(idx=(3,))),),
        actions=(
            Execute(
                when=status(Target.SOURCE, "active"),
                target=Target.SOURCE,
                command="migrate_cancel",
            ),
        ),
    )
    text = drawn(history).text
    assert "Fault 1. drop packet 3 (fired: 2)" in text
    assert re.search(r"Action 1\. migrate_cancel to the source .*\(not done\)", text)


def test_longest_waits_are_a_table_with_those_that_never_ended_first():
    history = run(
        buffer(1, "starved", 0),
        buffer(2, "incoming", 0, channel=3),
        buffer(4, "load_start", 0),
        buffer(5, "load_end", 0),
        buffer(6, "starved", 1),
    )
    text = " ".join(drawn(history).text.split())
    assert (
        "vfio0 1 +0.006000 s to the end never arrived vfio0 0 +0.001000 s 3.000 ms channel 3"
        in text
    )
    assert "vfio0: at most 1 packets queued" in text


def test_downtime_has_its_parts():
    text = " ".join(
        drawn(
            run(
                qmp(1, Side.SOURCE, "STOP"),
                qmp(3.5, Side.DESTINATION, "RESUME"),
                qmp(
                    4, Side.SOURCE, "return",
                    command="query-migrate", value={"status": "completed", "downtime": 3},
                ),
            )
        ).text.split()
    )  # fmt: skip
    assert "by the source's query-migrate 3 ms" in text
    assert "source's STOP to destination's RESUME 2.500 ms" in text
    assert "until the destination runs the guest 2.500 ms" in text


def test_command_lines_and_commands_can_be_copied():
    history = run(
        of(0, Side.SOURCE, Launched(argv=["/q", "-m", "64", "-name", "a b"], pid=1)),
        qmp(1, Side.SOURCE, "execute", command="query-status", arguments={}),
        qmp(2, Side.SOURCE, "execute", command="migrate", arguments={"uri": "x<y"}),
    )
    text = drawn(history).text
    assert "/q \\\n  -m 64 \\\n  -name 'a b'" in text
    assert 'source: {"execute": "migrate", "arguments": {"uri": "x<y"}}' in text
    assert "query-status" not in text


def test_storm_of_commands_is_cut_with_its_count():
    history = run(*(qmp(n, Side.SOURCE, "execute", command=f"stop{n}") for n in range(150)))
    text = drawn(history).text
    assert "stop99" in text
    assert "stop100" not in text
    assert "... and 50 more, all in history.jsonl" in text


def test_links_to_raw_files_are_relative_and_only_to_those_that_are_there(tmp_path):
    path = save(valid_run(), tmp_path / "runs #1")
    folder = tmp_path / "reports"
    found = page(entry(valid_run(), path), folder=folder)
    links = [link for link in found.links if not link.startswith("#")]
    assert [Path(link).name for link in links] == [
        "manifest.json",
        "scenario.json",
        "history.jsonl",
    ]
    folder.mkdir()
    assert all((folder / unquote(link)).is_file() for link in links)


def test_nothing_leads_to_a_run_directory_that_will_be_removed(tmp_path):
    path = save(valid_run(), tmp_path / "runs")
    found = page(entry(valid_run(), path), removed=frozenset([path]), folder=tmp_path)
    assert all(link.startswith("#") for link in found.links)
    assert "recheck" not in found.text
    assert "recheck" in page(entry(valid_run(), path), folder=tmp_path).text


def test_run_of_100_000_records_makes_a_small_file():
    history = loaded(25_000)
    assert len(history.records) == 100_000
    made = dataclasses.replace(
        judged(finding("ORD-1", Outcome.VIOLATED, evidence=tuple(history.records))),
        path=Path("/runs/long"),
    )
    source = html.render(report(made), {made.path: history}, folder=FOLDER)
    assert len(source) < 1_000_000
    assert "99950 more records are in verdict.json" in source
    assert len(Page(source).tags) < 10_000


def test_once_the_file_is_full_valid_runs_have_no_charts(monkeypatch):
    good = dataclasses.replace(judged(finding("ORD-1", Outcome.VALID)), path=Path("/runs/1"))
    bad = dataclasses.replace(judged(finding("ORD-1", Outcome.VIOLATED)), path=Path("/runs/2"))
    histories = {Path("/runs/1"): loaded(50), Path("/runs/2"): loaded(60)}
    whole = page(good, bad, histories=histories).text
    assert whole.count("arrival, wait, load") == 2
    monkeypatch.setattr(html, "_BUDGET", 10)
    text = page(good, bad, histories=histories).text
    assert "packets 0 (top) to 59" in text
    assert "packets 0 (top) to 49" not in text
    assert text.count("The timeline is left out") == 1


def test_each_history_is_loaded_once():
    class Asked(dict[Path, History]):
        paths: list[Path]

        def get(self, path, default=None):
            self.paths.append(path)
            return super().get(path, default)

    asked = Asked({Path("/runs/1"): valid_run()})
    asked.paths = []
    html.render(report(entry(valid_run(), Path("/runs/1")), lost()), asked, folder=FOLDER)
    assert asked.paths == [Path("/runs/1")]


def test_run_without_manifest_or_path_is_reported():
    text = page(Entry(name="gone", error="no machine", known=None)).text
    assert "1. gone" in text
    assert "no machine" in text


def test_times_are_those_of_the_records():
    """So that a bar can be found in the history."""
    history = run(buffer(250, "incoming", 0, channel=0), buffer(260, "load_start", 0))
    assert history.manifest.started_ns == START
    assert "252 ms" in drawn(history).text


def test_run_that_was_left_out_says_why():
    found = page(entry(valid_run()), lost("/qemu: this build has no TLS").as_left_out())
    assert "left out" in found.text
    assert "/qemu: this build has no TLS" in found.text
    assert "LOST" not in found.text
