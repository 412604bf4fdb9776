"""Addresses of PCI functions, as sysfs and lspci write them."""

import re
from collections.abc import Iterable

_ADDRESS = re.compile(
    r"(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([01][0-9a-f])\.([0-7])", re.IGNORECASE | re.ASCII
)


def full_address(text: str) -> str:
    """``text``, like ``3b:00.2``, as sysfs writes it: ``0000:3b:00.2``.

    :raise ValueError: it is no PCI address
    """
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a PCI address like 0000:3b:00.2")
    domain, bus, slot, function = match.groups()
    return f"{domain or '0000'}:{bus}:{slot}.{function}".lower()


def repeated(addresses: Iterable[str]) -> str:
    """The first of full ``addresses`` that occurs twice; empty if none does."""
    seen: set[str] = set()
    for address in addresses:
        if address in seen:
            return address
        seen.add(address)
    return ""
