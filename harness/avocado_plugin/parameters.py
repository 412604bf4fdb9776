"""Parameters of a job (``avocado run -p NAME=VALUE``, a variant) as options of a command."""

from collections.abc import Collection, Iterator
from typing import Any


class BadParameter(ValueError):
    """A parameter that no option takes, or that has two values."""


def of(variant: Any) -> dict[str, str]:
    """All parameters of ``variant``, from all of its leaves.

    :param variant: as avocado serializes it (``avocado.core.varianter.dump_variant``):
        ``{"variant": [[path, [[path, name, value], ...]], ...], ...}``; None: none
    :raise BadParameter: two leaves give one name two values
    """
    found: dict[str, str] = {}
    for _leaf, parameters in (variant or {}).get("variant", ()):
        for _path, name, value in parameters:
            if found.setdefault(name, str(value)) != str(value):
                raise BadParameter(f"parameter {name} is both {found[name]} and {value}")
    return found


def options(
    parameters: dict[str, str], *, valued: Collection[str], flags: Collection[str] = ()
) -> Iterator[str]:
    """The command line's options: ``qemu_dst=X`` is ``--qemu-dst=X``.

    :param valued: names that take a value
    :param flags: names that are given as on, yes, true or 1, or not
    :raise BadParameter: a name is neither; lists those that are
    """
    for name, value in parameters.items():
        option = f"--{name.replace('_', '-')}"
        if name in valued:
            yield f"{option}={value}"
        elif name not in flags:
            known = ", ".join(sorted({*valued, *flags}))
            raise BadParameter(f"there is no parameter {name}; there are {known}")
        elif value.lower() in {"on", "yes", "true", "1"}:
            yield option
