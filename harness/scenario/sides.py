"""What differs at the **destination**: the fields of a scenario that only one side is given.

``"destination": {"channels": 2}`` in JSON.  It has the fields of a scenario with the values for the
destination; what it does not name is the same on both sides.  Objects (``capabilities``,
``parameters``) are merged name by name.  ``devices`` lists all devices of the destination; each
takes what it does not say from the device with the same id.  Any field of a scenario and of a
device works, except for those that are about the migration or about both QEMUs.
"""

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

from harness.scenario.strict_json import did_you_mean

OF_BOTH = frozenset(
    {
        "name", "qemu", "qemu_dst", "guest", "transport", "tls", "tls_mismatch", "deadline_s",
        "standstill_s", "trace", "seed", "relay", "faults", "actions", "then", "destination",
    }
)  # fmt: skip
"""Fields that no side has for itself alone."""
INSTEAD = {"qemu": "qemu_dst", "tls": "tls_mismatch"}
"""What gives one side another value of such a field."""


def merged(raw: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """``raw``, a scenario as built-in types, with what ``own`` says instead.

    :raise ValueError: ``own`` has what no side can have; one line
    """
    for name in own:
        if name in OF_BOTH:
            instead = f": use {INSTEAD[name]}" if name in INSTEAD else ""
            raise ValueError(f"{name} cannot be given for one side{instead}")
        if name not in raw:
            raise ValueError(f"unknown field {name}{did_you_mean(name, set(raw) - OF_BOTH)}")
    found = {name: _merged(value, own[name]) for name, value in raw.items() if name in own}
    if "devices" in own:
        found["devices"] = list(_devices(raw["devices"], own["devices"]))
    return {**raw, **found}


def _merged(value: Any, own: Any) -> Any:
    if isinstance(value, Mapping) and isinstance(own, Mapping):
        return {
            **value,
            **{name: _merged(value.get(name), each) for name, each in own.items()},
        }
    return own


def _devices(devices: list[dict[str, Any]], own: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(own, list | tuple) or not all(isinstance(each, Mapping) for each in own):
        raise ValueError("devices is not a list of objects, one for each device")
    theirs = {device["id"]: device for device in devices}
    for number, each in enumerate(own):
        wanted = devices[number]["id"] if number < len(devices) else None
        name = each.get("id")
        if wanted is not None and name != wanted:
            raise ValueError(
                f"devices[{number}].id is {name!r}, not {wanted!r}: the devices of both sides have "
                "the same places"
            )
        base = theirs.get(name, {}) if isinstance(name, str) else {}
        is_other = "kind" in each and each["kind"] != base.get("kind")
        yield dict(each) if is_other or not base else _merged(base, each)


def differing(raw: Any, own: Any, place: str = "") -> Iterator[str]:
    """Places in ``raw`` and ``own``, as built-in types, that do not have the same value.

    ``devices[1].bar_size`` is one; of a device that only one side has it is ``devices[1]``.
    """
    if isinstance(raw, Mapping) and isinstance(own, Mapping):
        for name in dict.fromkeys([*raw, *own]):
            yield from differing(raw.get(name), own.get(name), f"{place}.{name}" if place else name)
    elif isinstance(raw, list | tuple) and isinstance(own, list | tuple) and place == "devices":
        for number, (ours, theirs) in enumerate(zip_longest(raw, own)):
            yield from differing(ours, theirs, f"{place}[{number}]")
    elif raw != own:
        yield place
