"""Sizes with units; faults as JSON; the command line behind --."""

import pytest

from harness.commands import run
from harness.commands.arguments import faults
from harness.errors import UsageError, VMError
from harness.scenario.fault_plan import Drop, Hold, Until
from tests.unit.called import one_line


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("4096", 4096), ("16M", 16 << 20), ("16MiB", 16 << 20), ("1g", 1 << 30),
     ("2 K", 2048), ("3B", 3)],
)  # fmt: skip
def test_size_is_bytes_with_a_unit(call, monkeypatch, text, size):
    seen = {}

    def remember(_paths, settings, _trace_events):
        seen["size"] = settings.size
        raise VMError("enough")

    monkeypatch.setattr(run, "scenarios", remember)
    assert call("run", "--size", text)[0] == 3
    assert seen["size"] == size


def test_faults_are_given_as_json():
    found = faults(['{"fault": "drop"}', '{"fault": "hold", "until": {"packets": 2}}'])
    assert found == (Drop(), Hold(until=Until(packets=2)))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "Expecting property name"),
        ('{"fault": "dop"}', "fault is 'dop': unknown; did you mean drop?"),
        ('{"fault": "drop", "select": {"id": [3]}}', "field id in select; did you mean idx?"),
        ('{"fault": "drop", "fault": "hold"}', "field fault appears twice"),
        ('{"fault": "drop", "select": {"channel": 300}}', "select.channel is 300: .* <= 254"),
        ('{"fault": "drop", "select": {"idx": [-1]}}', r"select.idx\[0\] is -1: .* >= 0"),
        ('{"fault": "drop", "select": {"idx": [4294967296]}}', "4294967296: .* <= 4294967295"),
        ('{"fault": "hold", "until": {}}', "until needs one of"),
        ('{"fault": "hold", "until": {"delay_s": 1e400}}', "until.delay_s is Infinity"),
        ('{"fault": "hold", "until": {"delay_s": -0.5}}', "until.delay_s is -0.5"),
        ('{"fault": "hold", "until": {"delay_s": NaN}}', "not JSON"),
        ('{"fault": "pace", "bytes_per_s": 0}', "bytes_per_s is 0: .* >= 1"),
        ("\udcff", "not JSON|not UTF-8"),
    ],
)
def test_what_is_no_fault_is_refused_with_why(text, why):
    with pytest.raises(UsageError, match=why) as refused:
        faults([text])
    assert "\n" not in str(refused.value)


def test_serve_needs_a_program(call, tmp_path):
    status, _, err = call("serve", "--scenario", tmp_path, "--side", "source", "--")
    assert status == 4
    assert "@devices@" in one_line(err)
