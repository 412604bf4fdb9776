"""Declarations of trace-events-all: what they say, and lines read back through them."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import TraceError
from harness.trace.catalogue import Argument, Catalogue, Conversion, TraceEvent, names

EXCERPTS = Path(__file__).parents[2] / "data" / "trace-events"
BUILDS = {
    path.stem: Catalogue.parse(path.read_text(), str(path)) for path in EXCERPTS.glob("qemu-*.txt")
}
EVENTS = [event for catalogue in BUILDS.values() for event in catalogue.events.values()]


def one(declaration: str) -> TraceEvent:
    (event,) = Catalogue.parse(declaration + "\n", "here").events.values()
    return event


def printed(event: TraceEvent, args) -> str:
    """What printf makes of an event; knows only the conversions of the excerpts."""
    text = ""
    for piece in event.pieces:
        if isinstance(piece, Conversion):
            form = {"u": "%d", "p": "0x%x"}.get(piece.letter, f"%{piece.letter}")
            text += form % args[piece.argument]
        else:
            text += piece
    return text


def arguments_of(event: TraceEvent, texts: st.SearchStrategy[str]):
    values = {
        piece.argument: texts if piece.letter == "s" else st.integers(0, 2**64 - 1)
        for piece in event.pieces
        if isinstance(piece, Conversion)
    }
    return st.fixed_dictionaries(values)


def test_excerpts_of_both_builds_parse_completely():
    assert {build: len(c.events) for build, c in BUILDS.items()} == {
        "qemu-10.0.13": 53,
        "qemu-11.1.3": 53,
    }
    assert "vfio_state_pending_exact" in BUILDS["qemu-10.0.13"].events
    assert "vfio_state_pending" in BUILDS["qemu-11.1.3"].events


def test_declared_arguments_keep_their_types_and_order():
    event = BUILDS["qemu-10.0.13"].events["vfio_save_complete_precopy_thread_start"]
    assert event.arguments == (
        Argument("const char *", "name"),
        Argument("const char *", "idstr"),
        Argument("uint32_t", "instance_id"),
    )
    assert not event.disabled


def test_comments_blank_lines_and_properties_are_understood():
    text = '# name(void) \n\n  # more\ndisable gone(void) ""\nvcpu here(unsigned long a) "%lu"\n'
    events = Catalogue.parse(text, "here").events
    assert list(events) == ["gone", "here"]
    assert events["gone"].disabled
    assert not events["here"].disabled
    assert events["here"].arguments == (Argument("unsigned long", "a"),)


def test_last_line_needs_no_newline():
    assert "a" in Catalogue.parse('a(void) "x"', "here").events


@settings(max_examples=400)
@given(event=st.sampled_from(EVENTS), data=st.data())
def test_what_was_printed_is_read_back(event, data):
    words = st.text("abcXYZ0189:./_- ", max_size=12).map(lambda text: text.replace(" size", ""))
    args = data.draw(arguments_of(event, words))
    assert event.read(printed(event, args)) == args


@settings(max_examples=400)
@given(event=st.sampled_from(EVENTS), data=st.data())
def test_no_string_makes_a_line_unreadable(event, data):
    args = data.draw(arguments_of(event, st.text(st.characters(exclude_characters="\n"))))
    line = printed(event, args)
    read = event.read(line)
    assert read is not None
    assert printed(event, read) == line  # where it is ambiguous: another reading, nothing lost


@pytest.mark.parametrize(
    ("declaration", "text", "args"),
    [
        ('a(void) ""', "", {}),
        ("a(void)", "", {}),
        ('a(void) "done"', "done", {}),
        ('a(uint64_t n) "n 0x%" PRIx64', "n 0x1f", {"n": 31}),
        ('a(uint64_t n) "n 0x%016"PRIx64" end"', "n 0x000000000000001f end", {"n": 31}),
        ('a(uint32_t n) "%08" PRIX32 ""', "000000FF", {"n": 255}),
        ('a(int64_t n) "%"PRIi64', "-9223372036854775808", {"n": -(2**63)}),
        ('a(int n, ssize_t m) "%i %zd"', "-1 7", {"n": -1, "m": 7}),
        ('a(uintptr_t n) "0x%"PRIxPTR', "0xabc", {"n": 0xABC}),
        ('a(int n) "%x"', "ffffffff", {"n": 0xFFFFFFFF}),
        ('a(int n) "%#x"', "0x10", {"n": 16}),
        ('a(int n) "%#x"', "0", {"n": 0}),
        ('a(uint8_t n) "<%2.2x>"', "<0a>", {"n": 10}),
        ('a(int n) "%3d|"', " -7|", {"n": -7}),
        ('a(int n) "%-4d|"', "7   |", {"n": 7}),
        ('a(int n) "%02d"', "07", {"n": 7}),
        ('a(int n) "%o"', "17", {"n": 15}),
        ('a(void *p) "p %p"', "p 0x7ffd00", {"p": 0x7FFD00}),
        ('a(void *p) "p %p"', "p (nil)", {"p": 0}),
        ('a(char c) "[%c]"', "[ ]", {"c": " "}),
        ('a(char *s) "%8s."', "    left.", {"s": "left"}),
        ('a(char *s) "%-8s."', "right   .", {"s": "right"}),
        ('a(char *s) "%s"', "(null)", {"s": "(null)"}),
        ('a(const char* s, unsigned n) "%s%u"', "x12", {"s": "x", "n": 12}),
        ('a(unsigned n) "%u%%"', "40%", {"n": 40}),
        (r'a(const char *s) "\t\"%s\" [\\]"', '\t"two words" [\\]', {"s": "two words"}),
        ('a(int width, uint64_t n, int m) "0x%0*"PRIx64" %d"', "0x0010 3", {"n": 16, "m": 3}),
        ('a(uint32_t i) "idx " "%" PRIu32 "."', "idx 5.", {"i": 5}),
    ],
)
def test_every_kind_of_conversion_is_read(declaration, text, args):
    assert one(declaration).read(text) == args


@pytest.mark.parametrize(
    "text",
    [
        "",
        " (VFIO_FD12) idx ",
        " (VFIO_FD12) idx 5 ",
        " (VFIO_FD12) idx -5",
        " (VFIO_FD12) idx 5x",
        " (VFIO_FD12) idx \u0665",  # a digit to str.isdigit(), never printed by printf
        "(VFIO_FD12) idx 5",
        " (VFIO_FD12 idx 5",
        " (VFIO_FD12) idx " + "9" * 5000,  # more digits than int() takes
    ],
)
def test_text_that_does_not_fit_all_of_the_format_is_refused(text):
    assert (
        BUILDS["qemu-10.0.13"].events["vfio_load_state_device_buffer_incoming"].read(text) is None
    )


@given(name=st.text("a) idx5(^"))
def test_a_string_ends_where_the_shortest_one_would(name):
    event = BUILDS["qemu-10.0.13"].events["vfio_load_state_device_buffer_incoming"]
    text = f" ({name}) idx 5"
    shortest = re.fullmatch(r" \((.*?)\) idx ([0-9]+)", text)
    assert shortest is not None
    assert event.read(text) == {"name": shortest[1], "idx": int(shortest[2])}


def test_a_number_padded_with_zeros_has_no_blanks():
    assert one('a(int n) "%04d"').read("  -7") is None
    assert one('a(int n) "%-04d."').read("-7  .") == {"n": -7}


def test_of_two_strings_the_first_gets_the_least():
    event = one('a(const char *name, const char *error) "%s: %s"')
    assert event.read("dev0: cannot: read") == {"name": "dev0", "error": "cannot: read"}


@pytest.mark.parametrize(
    ("declaration", "said"),
    [
        ("nonsense", "not NAME"),
        ('a(int n "%d"', "not NAME"),
        ('a() "x"', "a: not an argument"),
        ('a(int) "%d"', "a: not an argument"),
        ('a(int n,) "%d"', "a: not an argument"),
        ('fast a(int n) "%d"', "a: unknown property 'fast'"),
        ('a(int n) "%d', "a: not a format"),
        ('a(int n) "%" PRIz64', "a: not a format"),
        ('a(int n) "%d" rest', "a: not a format"),
        ('a(int n) "%y"', "a: unknown conversion '%y'"),
        ('a(int n) "100%"', "a: unknown conversion '%'"),
        (r'a(int n) "\x41 %d"', r"a: unknown escape \\x"),
        ('a(int n) "%d %d"', "a: the format prints more than its 1 arguments"),
        ('a(int n, int m) "%d"', "a: the format does not print 'm'"),
        ('ok(int n) "%d"', "ok is declared twice"),
    ],
)
def test_damaged_declaration_is_an_error_that_names_its_line(declaration, said):
    text = f'# events\nok(void) "fine"\n{declaration}\n'
    with pytest.raises(TraceError, match=f"^events-all line 3: damaged declaration: {said}") as e:
        Catalogue.parse(text, "events-all")
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("text", ["", "\n", "# only\n# comments\n"])
def test_text_without_a_single_event_is_not_a_trace_events_all(text):
    with pytest.raises(TraceError, match=r"^some/file: not a trace-events-all") as e:
        Catalogue.parse(text, "some/file")
    assert "name the file that was installed" in str(e.value)
    assert "\n" not in str(e.value)


def test_only_events_that_matter_are_read() -> None:
    text = 'vfio_a(int x) "x %d"\ndisable multifd_b(void) ""\nother_c(damaged\n'
    catalogue = Catalogue.parse(text, "events", ("vfio_*", "multifd_*"))
    assert set(catalogue.events) == {"vfio_a", "multifd_b"}
    with pytest.raises(TraceError, match=r"events: .* no trace event no_such_\*"):
        Catalogue.parse(text, "events", ("no_such_*",))


def test_names_of_all_events_are_found_whatever_is_before_them():
    text = '# a comment(1)\n\nfirst(void) "x"\ndisable second(int a) "%d"\n third(void) "f(x)"\n'
    assert names(text) == {"first", "second", "third"}


@pytest.mark.parametrize("path", sorted(EXCERPTS.glob("*.txt")), ids=lambda p: p.stem)
def test_names_are_those_of_the_catalogue(path):
    text = path.read_text()
    assert names(text) == set(Catalogue.parse(text, "x").events)
