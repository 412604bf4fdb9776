"""What each kind of device must say of itself."""

from typing import Any

import pytest

from harness.scenario import Abilities, DeviceSpec


@pytest.mark.parametrize("missing", ["is_observable", "is_kernel", "forms"])
def test_kind_that_leaves_something_out_is_refused(missing):
    said = {"is_observable": True, "is_kernel": False, "forms": ("x",)}
    del said[missing]
    make: Any = type(DeviceSpec)
    with pytest.raises(TypeError, match=f"^Odd must set {missing}$"):
        make("Odd", (DeviceSpec,), said, frozen=True, kw_only=True, tag="odd")


@pytest.mark.parametrize(
    ("abilities", "words"),
    [
        (Abilities(), "STOP_COPY, P2P, PRE_COPY"),
        (Abilities(pre_copy=False, iommu_tracking=True), "STOP_COPY, P2P, IOMMU_TRACKING"),
        (Abilities(stop_copy=False), "does not migrate"),
    ],
)
def test_abilities_in_words(abilities, words):
    assert str(abilities) == words
