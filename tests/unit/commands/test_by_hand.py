"""Commands for a migration by hand."""

import pytest

from harness import by_relay, cli
from harness.scenario import Scenario, Tls, to_json
from tests.unit.called import one_line


@pytest.mark.parametrize("argv", [
    ("--listen", "tcp:x", "--to", "tcp:h:1"),
    ("--listen", "unix:a", "--to", "unix:"),
])  # fmt: skip
def test_wrong_address_of_a_relay_is_one_line(call, argv):
    status, _, err = call("relay", *argv)
    assert status == 4
    assert "give unix:PATH, or tcp:HOST:PORT" in one_line(err)


@pytest.mark.parametrize("command", ["relay", "run"])
def test_help_says_who_else_can_connect_to_a_port(command, capsys):
    assert cli.main([command, "--help"]) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "on loopback" in words
    assert "every user of the machine" in words


def test_monitor_that_is_not_there_is_one_line(call, tmp_path):
    status, _, err = call("qmp", tmp_path / "gone")
    assert status == 3
    assert str(tmp_path / "gone") in one_line(err)


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


def test_scenario_without_tls_asks_for_no_credentials(call, scenario_with, tmp_path):
    status, _, err = call("credentials", "--scenario", scenario_with(Tls.NONE), tmp_path / "tls")
    assert status == 4
    assert "tls is none: it asks for no credentials" in one_line(err)


def test_side_that_is_none_is_refused_with_those_that_are(call, tmp_path):
    status, _, err = call("serve", "--scenario", tmp_path, "--side", "up", "--", "x")
    assert status == 4
    assert "(choose from 'source', 'destination')" in one_line(err)


@pytest.mark.parametrize("text", ["", "=completed", "MIGRATION=", "a b"])
def test_what_names_no_event_is_refused(call, text):
    status, _, err = call("qmp", "nowhere", f"--until={text}")
    assert status == 4
    assert f"'{text}' is not like MIGRATION or MIGRATION=completed" in one_line(err)


@pytest.mark.parametrize(
    ("argv", "scenario", "seed"), [((), None, 0), ((), 7, 7), (("--seed", 0), 7, 0)]
)
def test_seed_of_the_command_line_goes_before_the_scenarios(
    call, monkeypatch, tmp_path, argv, scenario, seed
):
    seen = []
    monkeypatch.setattr(by_relay, "serve", lambda *args: seen.append(args[3]) or 0)
    if scenario is not None:
        (tmp_path / "a.json").write_bytes(to_json(Scenario(name="x", seed=scenario)))
        argv = (*argv, "--scenario", tmp_path / "a.json")
    assert call("relay", "--listen", "unix:a", "--to", "unix:b", *argv)[0] == 0
    assert seen == [seed]
