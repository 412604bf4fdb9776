"""``credentials``: a folder for each side, for a scenario that has TLS."""

import pytest

from harness.scenario import Scenario, Tls, to_json
from tests.unit.called import one_line


@pytest.fixture
def scenario_with(tmp_path):
    """The file of a scenario with a kind of TLS."""

    def write(tls):
        path = tmp_path / "scenario.json"
        path.write_bytes(to_json(Scenario(name="x", tls=tls)))
        return path

    return write


def test_credentials_are_made_for_each_side(call, scenario_with, tmp_path):
    folder = tmp_path / "tls"
    status, out, err = call("credentials", "--scenario", scenario_with(Tls.X509), folder)
    assert (status, out, err) == (0, "", "")
    assert sorted(path.name for path in folder.iterdir()) == ["destination", "source"]
    again = call("credentials", "--scenario", scenario_with(Tls.X509), folder)
    assert again[0] == 3
    assert f"{folder}: cannot write TLS credentials: File exists" in one_line(again[2])


def test_scenario_without_tls_needs_no_credentials(call, scenario_with, tmp_path):
    status, _, err = call("credentials", "--scenario", scenario_with(Tls.NONE), tmp_path / "tls")
    assert status == 4
    assert "tls is none: it needs no credentials" in one_line(err)
