"""``--device KIND[:...]``: a device in one word of the command line."""

import difflib
from collections.abc import Sequence

from harness.errors import UsageError
from harness.scenario import KINDS, Device

_KINDS = {str(kind.__struct_config__.tag): kind for kind in KINDS}
FORMS = ", ".join(form for kind in KINDS for form in kind.forms)
"""What one may look like, for the help."""


def parse(texts: Sequence[str]) -> tuple[Device, ...]:
    """The devices that ``texts`` name, one each, with ids in order.

    :raise UsageError: one is none of ``FORMS``
    """
    return tuple(_device(text, number) for number, text in enumerate(texts))


def _device(text: str, number: int) -> Device:
    name, _, rest = text.partition(":")
    kind = _KINDS.get(name)
    if kind is not None:
        found = kind.from_argument(rest, f"vfio{number}", number)
        if found is not None:
            return found
    near = [word for word in difflib.get_close_matches(name, _KINDS, n=1) if word != name]
    hint = f"; did you mean {near[0]}?" if near else f"; one of: {FORMS}"
    raise UsageError(f"--device {text}: not a device{hint}")
