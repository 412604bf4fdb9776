"""A sanitizer's report is a finding, however the QEMU ended; a leak only of one that quit."""

import msgspec
import pytest

from harness.check import sanitizer
from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history.process import Signalled, Stderr
from harness.history.records import Record
from tests.twins.damage import pick
from tests.unit.check.histories import (
    changed,
    completed,
    evidence_of,
    find,
    only,
    with_args,
    with_manifest,
)
from tests.unit.check.story import DST, FACTS, SRC, US, scenario

ADDRESS = (
    "==12==ERROR: AddressSanitizer: heap-use-after-free on address 0x61d000 at pc 0x55 bp 0x7f",
    "READ of size 8 at 0x61d000 thread T4",
    "    #0 0x55 in multifd_recv_thread ../migration/multifd.c:1300",
    "    #1 0x7f in start_thread (/lib/libc.so.6+0x89)",
    "SUMMARY: AddressSanitizer: heap-use-after-free in multifd_recv_thread",
)
LEAK = (
    "",
    "==12==ERROR: LeakSanitizer: detected memory leaks",
    "",
    "Direct leak of 48 byte(s) in 1 object(s) allocated from:",
    "    #0 0x7f in __interceptor_malloc (/lib/libasan.so.8+0xb6)",
    "    #1 0x7f in g_malloc (/lib/libglib-2.0.so.0+0x58)",
    "    #2 0x55 in error_setv ../util/error.c:62",
    "SUMMARY: AddressSanitizer: 48 byte(s) leaked in 1 allocation(s).",
)
UNDEFINED = (
    "../hw/vfio/migration.c:12:3: runtime error: shift exponent 64 is too large",
    "    #0 0x55 in vfio_save_block ../hw/vfio/migration.c:12",
)
THREAD = (
    "==================",
    "WARNING: ThreadSanitizer: data race (pid=77)",
    "    #0 vfio_load_bufs_thread ../hw/vfio/migration-multifd.c:390 (qemu+0x5)",
)


def saying(run, side, lines):
    """``run`` whose QEMU on ``side`` has written ``lines``."""
    (exited,) = [r for r in only(run, "exited") if r.side is side]
    said = [Record.of(exited.t_ns - US, side, Stderr(line=line)) for line in lines]
    return changed(run, [*run.records, *said])


@pytest.mark.parametrize("side", [SRC, DST])
@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (
            ADDRESS,
            "AddressSanitizer: heap-use-after-free in multifd_recv_thread < start_thread",
        ),
        (LEAK, "LeakSanitizer: detected memory leaks in error_setv"),
        (
            UNDEFINED,
            "UndefinedBehaviorSanitizer: ../hw/vfio/migration.c:12:3: runtime error: "
            "shift exponent 64 is too large in vfio_save_block",
        ),
        (THREAD, "ThreadSanitizer: data race in vfio_load_bufs_thread"),
    ],
)
def test_report_is_a_finding_although_the_run_completed(side, lines, sentence):
    finding = find(saying(completed(scenario()), side, lines), "RUN")
    assert finding.outcome is Outcome.VIOLATED
    assert finding.sentence == f"the {side} QEMU: {sentence}"
    assert evidence_of(finding)[0].args.line == next(line for line in lines if ": " in line)
    assert finding.numbers["sanitizer_reports"] == 1


@pytest.mark.parametrize(
    "line",
    [
        "qemu-system-x86_64: warning: a runtime error: it happened",
        "2026-01-01T00:00:00Z qemu-system-x86_64: x.c:1:2: runtime error: no",
        "==12==WARNING: AddressSanitizer failed to allocate 0x100000000 bytes",
        "==12==LeakSanitizer has encountered a fatal error.",
        "SUMMARY: AddressSanitizer: 48 byte(s) leaked in 1 allocation(s).",
        "==12==ERROR: something else",
    ],
)
def test_other_words_are_no_report(line):
    assert find(saying(completed(scenario()), DST, (line,)), "RUN").outcome is Outcome.VALID


def killed(run):
    (exited,) = [r for r in only(run, "exited") if r.side is SRC]
    signalled = Record.of(exited.t_ns - 2 * US, SRC, Signalled(signal=15))
    return changed(run, [*run.records, signalled])


def never_told(run):
    told = pick(run.records, "execute", "return", side=SRC, command="quit")
    return changed(run, [record for record in run.records if record not in told])


def still_migrating(run):
    over = [r for r in only(run, "MIGRATION") if r.side is SRC and r.args["status"] == "completed"]
    answers = pick(run.records, "execute", "return", side=SRC, command="query-migrate")
    for record in over:
        run = with_args(run, record, status="active")
    return changed(run, [r for r in run.records if r not in answers])


@pytest.mark.parametrize("ended", [killed, never_told, still_migrating])
def test_leak_of_a_qemu_that_had_it_in_use_is_counted_not_judged(ended):
    run = ended(saying(completed(scenario()), SRC, LEAK))
    finding = find(run, "RUN")
    assert "LeakSanitizer" not in finding.sentence
    assert finding.numbers["leaks_not_judged"] == 1


def test_address_error_of_a_qemu_that_was_killed_counts():
    finding = find(killed(saying(completed(scenario()), SRC, ADDRESS)), "RUN")
    assert finding.outcome is Outcome.VIOLATED


def test_error_that_ended_a_qemu_is_told_before_its_other_reports():
    run = saying(completed(scenario()), SRC, (*UNDEFINED, *ADDRESS))
    finding = find(run, "RUN")
    assert "heap-use-after-free" in finding.sentence
    assert finding.numbers["sanitizer_reports"] == 2


def test_functions_are_of_one_stack_the_first_that_has_some():
    """The unwinder may have come no further than the allocator."""
    lines = (
        *LEAK[:6],
        "Indirect leak of 8 byte(s) in 1 object(s) allocated from:",
        "    #0 0x7f in __interceptor_calloc (/lib/libasan.so.8+0xb6)",
        "    #1 0x55 in qio_task_new ../io/task.c:58",
        "    #2 0x55 in qio_channel_tls_bye ../io/channel-tls.c:352",
        "Indirect leak of 8 byte(s) in 1 object(s) allocated from:",
        "    #0 0x55 in elsewhere ../x.c:1",
    )
    finding = find(saying(completed(scenario()), SRC, lines), "RUN")
    assert finding.sentence.endswith("memory leaks in qio_task_new < qio_channel_tls_bye")


def test_long_report_is_cut():
    run = saying(completed(scenario()), SRC, (*ADDRESS, *("    #2 0x5 in f x.c:1",) * 100))
    assert len(find(run, "RUN").evidence) == sanitizer._LINES


def test_memory_of_a_sanitizers_build_is_not_asked_about():
    run = completed(scenario())
    sanitized = msgspec.structs.replace(FACTS, sanitizers=("address",))
    assert "LIF-8" in judge(with_manifest(run, destination=sanitized)).not_applicable
    source_only = judge(with_manifest(run, source=sanitized))
    assert source_only.not_applicable.get("LIF-8", "") != (
        "a sanitizer of the destination's build holds back what is freed"
    )
