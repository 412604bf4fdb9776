"""REF-8: a damaged configuration is refused."""

import pytest

from harness.check.judge import judge
from harness.check.verdict import Outcome
from tests.unit.check.histories import find, good
from tests.unit.check.relayed import Relayed, config, refused, whole
from tests.unit.check.story import scenario


@pytest.mark.parametrize(
    ("damaged", "text"),
    [
        (config(4, marker="00" * 8), "vfio0: expected FLAG_DEV_CONFIG_STATE but got 0"),
        (config(4, size=100), "vfio0: vfio_load_device_config_state() failed: -22"),
        (config(4, size=5000), "vfio0: Failed loading device config space, end flag incorrect"),
        (config(4, digest="d"), "vfio0: vfio_load_device_config_state() failed: -22"),
    ],
    ids=["marker", "short", "long", "changed"],
)
def test_damaged_configuration_that_is_refused(damaged, text):
    finding = find(refused(whole(damaged), text), "REF-8")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers["is_text_known"]


def loaded(damaged):
    story = Relayed(scenario())
    story.send()
    story.fault("flip")
    story.deliver(*whole(damaged))
    return story.completed()


@pytest.mark.parametrize("size", [100, 5000])
def test_configuration_of_another_length_that_is_loaded(size):
    finding = find(loaded(config(4, size=size)), "REF-8")
    assert finding.outcome is Outcome.VIOLATED
    assert f"the configuration has {size} bytes" in finding.sentence


def test_changed_bytes_that_are_loaded_are_not_asked():
    assert judge(loaded(config(4, digest="d"))).finding("REF-8") is None


def test_right_configuration_is_not_asked():
    assert judge(good("duplicate")).finding("REF-8") is None
