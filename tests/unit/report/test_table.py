"""Tables of plain text."""

from harness.report.table import EMPTY, figure, table


def test_first_column_is_flush_left_and_the_others_flush_right():
    rows = [("downtime", "9.5", "120.0"), ("a", "-", "1.0")]
    assert list(table(("", "before", "after"), rows)) == [
        "            before  after",
        "  downtime     9.5  120.0",
        "  a              -    1.0",
    ]


def test_line_has_no_blanks_at_its_end():
    assert list(table(("name", ""), [("a", "")])) == ["  name", "  a"]


def test_figure_has_one_decimal_and_is_empty_without_a_value():
    assert (figure(1.25), figure(0), figure(None)) == ("1.2", "0.0", EMPTY)
