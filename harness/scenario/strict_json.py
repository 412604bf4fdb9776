"""JSON into typed structs, where an error is one line that names field and value, and the
nearest valid name where a name is wrong.

msgspec says where a value does not fit and why; this adds the value, what was probably meant,
and names that appear twice in an object, of which msgspec takes the last silently.
"""

import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
from msgspec import inspect

_MESSAGE = re.compile(r"(?P<what>.*?)(?: - at `(?P<key>key in )?\$(?P<path>[^`]*)`)?", re.DOTALL)
_STEP = re.compile(r"\.(?P<name>[^.\[]+)|\[(?P<index>\d+)\]|\[\.\.\.\]")
_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_UNKNOWN_WORD = re.compile(r"Invalid (?:enum )?value '(.*)'", re.DOTALL)
_LONGEST = 60
"""Characters of a value that are shown."""


def decode(data: bytes, of_type: Any, upgrade: Callable[[object], object] | None = None) -> Any:
    """``data`` as ``of_type``, which may be a union of structs.

    :param upgrade: makes what is valid today out of what an earlier version has written
    :raise ValueError: it is not such JSON; one line
    """
    try:
        raw = json.loads(data, object_pairs_hook=_once_each)
        if upgrade is None or (upgraded := upgrade(raw)) is raw:
            return msgspec.json.decode(data, type=of_type)
        raw = upgraded
        return msgspec.convert(raw, of_type)
    except msgspec.ValidationError as error:
        raise ValueError(explained(str(error), raw, of_type)) from error
    except (json.JSONDecodeError, msgspec.DecodeError) as error:
        raise ValueError(f"not JSON: {error}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8: {error.reason}") from error
    except RecursionError as error:
        raise ValueError("not JSON that can be read: it is nested too deeply") from error


def check(value: object, of_type: Any) -> None:
    """Check the ranges of a ``value`` that was not read from JSON.

    :raise ValueError: a number is out of its field's range; one line
    """
    raw = msgspec.to_builtins(value)
    try:
        msgspec.convert(raw, of_type)
    except msgspec.ValidationError as error:
        raise ValueError(explained(str(error), raw, of_type)) from error


def explained(message: str, raw: object, of_type: object) -> str:
    """msgspec's ``message`` about ``raw``, for people: field, value, nearest valid name."""
    match = _MESSAGE.fullmatch(message)
    assert match is not None, message  # it matches any text
    what, path = match["what"], match["path"] or ""
    steps = [step["name"] or step["index"] or "" for step in _STEP.finditer(path)]
    place = path.removeprefix(".").replace("[...]", "")
    if match["key"]:
        return f"a key of {place}: {what}"
    if field := _UNKNOWN_FIELD.fullmatch(what):
        fields = _fields(_type_at(of_type, raw, steps))
        inside = f" in {place}" if place else ""
        return f"unknown field {field[1]}{inside}{did_you_mean(field[1], fields)}"
    if word := _UNKNOWN_WORD.fullmatch(what):
        known = _words(_type_at(of_type, raw, steps)) or _tags(
            _type_at(of_type, raw, steps[:-1]), steps[-1:]
        )
        return f"{place} is {word[1]!r}: unknown{did_you_mean(word[1], known)}"
    if not what.startswith(("Expected", "Number")):
        return f"{place}: {what}" if place else what  # a struct's own words, which say it all
    if not place:
        return what
    return f"{place} is {_shown(_value_at(raw, steps))}: {what}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean X?`` for the nearest of ``known``, or all of a few; else nothing."""
    names = sorted(set(known))
    if near := difflib.get_close_matches(word, names, n=1, cutoff=0.6):
        return f"; did you mean {near[0]}?"
    return f"; one of {', '.join(names)}" if 0 < len(names) <= 24 else ""


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(
                f"field {name} appears twice in one object, as {_shown(found[name])} and "
                f"{_shown(value)}"
            )
        found[name] = value
    return found


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _value_at(raw: object, steps: Iterable[str]) -> object:
    """The value at the end of ``steps``, or the last that can be reached: a key of a
    dictionary is not in a message."""
    for step in steps:
        if isinstance(raw, dict) and step in raw:
            raw = raw[step]
        elif isinstance(raw, list | tuple) and step.isdecimal():
            raw = raw[int(step)]
        else:
            break
    return raw


# -- what could be there ------------------------------------------------------------


def _type_at(of_type: object, raw: object, steps: Iterable[str]) -> list[inspect.Type]:
    """The types that a value at the end of ``steps`` may have, as its tags say."""
    found = list(_alternatives(inspect.type_info(of_type)))
    for step in steps:
        inner: list[inspect.Type] = []
        for each in found:
            match each:
                case inspect.StructType() if _has_tag(each, raw):
                    inner += [f.type for f in each.fields if f.encode_name == step]
                case inspect.VarTupleType() | inspect.ListType():
                    inner.append(each.item_type)
                case inspect.DictType():
                    inner.append(each.value_type)
        raw = _value_at(raw, [step])
        found = [one for each in inner for one in _alternatives(each)]
    tagged = [each for each in found if isinstance(each, inspect.StructType)]
    return [each for each in found if each not in tagged or _has_tag(each, raw)] or found


def _alternatives(of_type: inspect.Type) -> Iterator[inspect.Type]:
    match of_type:
        case inspect.UnionType():
            for each in of_type.types:
                yield from _alternatives(each)
        case inspect.Metadata():
            yield from _alternatives(of_type.type)
        case _:
            yield of_type


def _has_tag(of_type: inspect.Type, raw: object) -> bool:
    if not isinstance(of_type, inspect.StructType) or of_type.tag_field is None:
        return True
    return isinstance(raw, dict) and raw.get(of_type.tag_field) == of_type.tag


def _fields(types: Iterable[inspect.Type]) -> Iterator[str]:
    for each in types:
        if isinstance(each, inspect.StructType):
            yield from (field.encode_name for field in each.fields)
            if each.tag_field is not None:
                yield each.tag_field


def _words(types: Iterable[inspect.Type]) -> list[str]:
    """The members of the enumerations among ``types``."""
    enums = [each.cls for each in types if isinstance(each, inspect.EnumType)]
    return [str(member.value) for cls in enums for member in cls]


def _tags(types: Iterable[inspect.Type], field: list[str]) -> list[str]:
    """The tags of the structs among ``types``, which ``field`` has."""
    return [
        str(each.tag)
        for each in types
        if isinstance(each, inspect.StructType) and [each.tag_field] == field
    ]
