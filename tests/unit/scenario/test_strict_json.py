"""An error is one line that names field and value, and what was probably meant."""

import enum
import math
from typing import Annotated

import msgspec
import pytest

from harness.scenario import strict_json


class Colour(enum.StrEnum):
    RED = "red"
    GREEN = "green"


class Circle(msgspec.Struct, tag_field="kind", tag="circle", forbid_unknown_fields=True):
    radius: Annotated[float, msgspec.Meta(ge=0, le=10)] = 1
    colour: Colour = Colour.RED


class Square(msgspec.Struct, tag_field="kind", tag="square", forbid_unknown_fields=True):
    sides: tuple[Annotated[int, msgspec.Meta(ge=1)], ...] = ()
    inside: Circle | None = None
    more: dict[str, int] = {}

    def __post_init__(self) -> None:
        if len(self.sides) == 1:
            raise ValueError("a square has no single side")


Shape = Circle | Square


class Picture(msgspec.Struct, forbid_unknown_fields=True):
    shapes: tuple[Shape, ...] = ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"shape": []}', "unknown field shape; did you mean shapes?"),
        ('{"shapes": [{"kind": "circle", "sides": []}]}',
         "unknown field sides in shapes[0]; one of colour, kind, radius"),
        ('{"shapes": [{"kind": "square", "insid": 1}]}',
         "unknown field insid in shapes[0]; did you mean inside?"),
        ('{"shapes": [{"kind": "square", "inside": {"kind": "circle", "radios": 1}}]}',
         "unknown field radios in shapes[0].inside; did you mean radius?"),
        ('{"shapes": [{"kind": "sqare"}]}',
         "shapes[0].kind is 'sqare': unknown; did you mean square?"),
        ('{"shapes": [{"kind": "circle", "colour": "blue"}]}',
         "shapes[0].colour is 'blue': unknown; one of green, red"),
        ('{"shapes": [{"kind": "circle", "radius": -1}]}',
         "shapes[0].radius is -1: Expected `float` >= 0.0"),
        ('{"shapes": [{"kind": "circle", "radius": 1e400}]}',
         "shapes[0].radius is Infinity: Number out of range"),
        ('{"shapes": [{"kind": "square", "sides": [1, 0]}]}',
         "shapes[0].sides[1] is 0: Expected `int` >= 1"),
        ('{"shapes": [{"kind": "square", "sides": [1]}]}',
         "shapes[0]: a square has no single side"),
        ('{"shapes": [{"kind": "square", "more": {"a": "b"}}]}',
         """shapes[0].more is {"a": "b"}: Expected `int`, got `str`"""),
        ('{"shapes": {}}', "shapes is {}: Expected `array`, got `object`"),
        ("[]", "Expected `object`, got `array`"),
        ('{"shapes": [], "shapes": [{}]}',
         "field shapes appears twice in one object, as [] and [{}]"),
        ('{"shapes": [{"kind": "square", "more": {"a": 1, "a": 1}}]}',
         "field a appears twice in one object, as 1 and 1"),
        ("", "not JSON: Expecting value"),
        ("{", "not JSON: Expecting property name"),
        ('{"shapes": NaN}', "not JSON: "),
        ("[" * 100_000, "nested too deeply"),
    ],
)  # fmt: skip
def test_error_is_one_line_with_field_and_value(text, words):
    with pytest.raises(ValueError) as refused:
        strict_json.decode(text.encode(), Picture)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_bytes_that_are_no_text_are_one_line():
    with pytest.raises(ValueError, match=r"^not UTF-8: invalid start byte$"):
        strict_json.decode(b'{"shapes": "\xff"}', Picture)


def test_value_that_is_long_is_cut():
    text = f'{{"shapes": {{"a": "{"x" * 1000}"}}}}'
    with pytest.raises(ValueError) as refused:
        strict_json.decode(text.encode(), Picture)
    assert len(str(refused.value)) < 150


def test_what_fits_is_decoded_also_a_union_alone():
    found = strict_json.decode(b'{"kind": "square", "sides": [1, 2]}', Shape)
    assert found == Square(sides=(1, 2))
    same_names = b'{"shapes": [{"kind": "circle"}, {"kind": "circle"}]}'
    assert strict_json.decode(same_names, Picture) == Picture((Circle(), Circle()))


@pytest.mark.parametrize("radius", [-1, 11, math.nan, math.inf, 1 << 70])
def test_number_that_was_not_read_is_checked_by_the_same_range(radius):
    with pytest.raises(ValueError, match=r"shapes\[0\].radius is "):
        strict_json.check(Picture((Circle(radius=radius),)), Picture)


def test_value_that_was_not_read_and_is_right_passes():
    strict_json.check(Picture((Circle(radius=10), Square(sides=(1, 2)))), Picture)


@pytest.mark.parametrize(
    ("word", "known", "words"),
    [
        ("channles", ["channels", "devices"], "; did you mean channels?"),
        ("zzz", ["a", "b"], "; one of a, b"),
        ("zzz", [], ""),
        ("zzz", [f"name{n}" for n in range(100)], ""),
    ],
)
def test_nearest_name_is_offered_else_all_of_a_few(word, known, words):
    assert strict_json.did_you_mean(word, known) == words
