"""Tables of plain text, for figures side by side."""

from collections.abc import Iterator, Sequence
from typing import Final

EMPTY: Final = "-"
"""A cell for which there is no figure."""


def figure(value: float | None) -> str:
    """With one decimal.  ``EMPTY`` if ``value`` is None."""
    return EMPTY if value is None else f"{value:.1f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The first column is flush left, the others are flush right; indented by two."""
    widths = [max(len(cell) for cell in column) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        cells = [f"{row[0]:<{widths[0]}}"]
        cells += [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)]
        yield f"  {'  '.join(cells)}".rstrip()
