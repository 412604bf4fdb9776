"""Expected counts: what is a difference, which file is taken, what an update writes."""

from typing import Any

import pytest

from harness.errors import UsageError
from harness.pytest_plugin import expected
from harness.pytest_plugin.expected import Counts, Expected, ExpectedFile

WANTED = Expected(known_deviation=5, skipped=3, intermittent_at_most=2)
FACTS: expected.Facts = {"source": "10.0", "root": True, "builds": ["10.0", "11.1"]}


def counts(known: int, skipped: int = 3, intermittent: int = 0) -> Counts:
    return Counts(known_deviation=known, skipped=skipped, intermittent=intermittent)


@pytest.mark.parametrize(
    "seen",
    [
        counts(5),
        counts(5, intermittent=1),  # a test that else passes
        counts(4, intermittent=1),  # one that else shows another deviation
        counts(4, intermittent=2),
    ],
)
def test_intermittent_deviation_may_take_a_test(seen: Counts) -> None:
    assert not list(WANTED.differences(seen))


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (counts(5, skipped=4), "4 skipped, not 3"),
        (counts(5, skipped=2), "2 skipped, not 3"),
        (counts(4), "4 known deviations, not 5"),
        (counts(6), "6 known deviations, not 5"),
        # An intermittent one takes tests, it adds none.
        (counts(3, intermittent=1), "3 known deviations with 1 intermittent, not 5"),
        (counts(6, intermittent=1), "6 known deviations with 1 intermittent, not 5"),
        (counts(5, intermittent=3), "3 intermittent deviations, not at most 2"),
    ],
)
def test_difference_is_reported(seen: Counts, words: str) -> None:
    assert words in "; ".join(WANTED.differences(seen))


def test_update_reads_back_as_it_was_seen() -> None:
    file = ExpectedFile(FACTS, {"unit": expected.updated(None, counts(5))})
    assert file.tests["unit"].known_deviation == 5
    assert not list(file.tests["unit"].differences(counts(5)))


def test_rendered_file_is_read_as_it_was(tmp_path) -> None:
    file = ExpectedFile(FACTS, {"unit": WANTED, "functional": WANTED})
    path = tmp_path / "this.toml"
    path.write_text(expected.render(file))
    assert expected.load(path) == file
    assert expected.find(path, FACTS) == (path, file)


def test_bound_stays_until_it_is_passed() -> None:
    assert expected.updated(WANTED, counts(5)).intermittent_at_most == 2
    assert expected.updated(WANTED, counts(4, intermittent=3)).intermittent_at_most == 10
    assert expected.updated(WANTED, counts(0, intermittent=17)).intermittent_at_most == 51


def test_test_that_was_taken_counts_as_what_it_was_before() -> None:
    assert expected.updated(WANTED, counts(4, intermittent=2)).known_deviation == 5
    assert expected.updated(WANTED, counts(2, intermittent=2)).known_deviation == 4
    assert expected.updated(None, counts(4, intermittent=2)).known_deviation == 4


def write(folder, name: str, **machine: Any) -> None:
    (folder / name).write_text(expected.render(ExpectedFile(machine)))


def test_file_for_this_kind_of_machine_is_found(tmp_path) -> None:
    write(tmp_path, "a.toml", source="10.0", root=False)
    write(tmp_path, "b.toml", source="10.0")
    write(tmp_path, "c.toml", source="11.1")
    found = expected.find(tmp_path, FACTS)
    assert found is not None
    assert found[0].name == "b.toml"
    assert expected.find(tmp_path, {"source": "10.2"}) is None


def test_two_files_for_one_machine_are_refused(tmp_path) -> None:
    write(tmp_path, "a.toml", source="10.0")
    write(tmp_path, "b.toml", root=True)
    with pytest.raises(UsageError, match=r"a\.toml, b\.toml are all for this machine"):
        expected.find(tmp_path, FACTS)


def test_file_of_another_machine_is_refused(tmp_path) -> None:
    write(tmp_path, "a.toml", source="11.1")
    with pytest.raises(UsageError, match=r'it is for source = "11\.1"; this is source = "10\.0"'):
        expected.find(tmp_path / "a.toml", FACTS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[machine", "no expected counts"),
        ("[tests]", "no expected counts"),
        ("[machine]\n[tests.unit]\nskipped = 'many'", "no expected counts"),
        (None, "cannot be read"),
    ],
)
def test_bad_file_is_one_line(tmp_path, text: str | None, words: str) -> None:
    path = tmp_path / "bad.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=words) as caught:
        expected.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
