"""Parameters come from all leaves, and none is passed over."""

import pytest

from harness.avocado_plugin import parameters
from harness.avocado_plugin.parameters import BadParameter

VARIANT = {
    "variant": [
        ["/run/builds", [["/run/builds", "qemu", "/a"]]],
        ["/run/shape", [["/run/shape", "channels", 8], ["/run/shape", "keep_runs", True]]],
    ],
    "variant_id": "one",
}


def test_parameters_of_all_leaves_are_taken():
    assert parameters.of(VARIANT) == {"qemu": "/a", "channels": "8", "keep_runs": "True"}


@pytest.mark.parametrize("variant", [None, {"variant": [], "variant_id": None}])
def test_no_variant_has_no_parameters(variant):
    assert parameters.of(variant) == {}


def test_two_values_of_one_name_are_refused():
    leaves = [["/a", [["/a", "qemu", "/x"]]], ["/b", [["/b", "qemu", "/y"]]]]
    with pytest.raises(BadParameter, match="qemu is both /x and /y"):
        parameters.of({"variant": leaves})


def test_names_become_options():
    given = {"qemu_dst": "/b", "keep_runs": "yes"}
    found = parameters.options(given, valued=("qemu_dst",), flags=("keep_runs",))
    assert list(found) == ["--qemu-dst=/b", "--keep-runs"]


def test_flag_that_is_off_is_not_given():
    assert not list(parameters.options({"keep_runs": "no"}, valued=(), flags=("keep_runs",)))


def test_name_that_nobody_takes_is_refused_with_those_that_are():
    with pytest.raises(BadParameter, match="no parameter chanels; there are channels, keep_runs"):
        list(parameters.options({"chanels": "1"}, valued=("channels",), flags=("keep_runs",)))
