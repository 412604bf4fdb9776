"""Sizes as people write them."""

import re

_SIZE = re.compile(r"(\d{1,30}) ?([KMGT]?)(?:i?B)?", re.IGNORECASE)


def size_of(text: str) -> int:
    """Bytes, as in 4096, 16M, 1GiB.

    :raise ValueError: it is no size
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size like 4096, 16M or 1G")
    return int(match[1]) << 10 * " KMGT".index(match[2].upper() or " ")
