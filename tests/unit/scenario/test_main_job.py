"""The main job asks about every requirement that every build can be asked about."""

from collections import Counter

from harness.check.judge import RULES
from harness.history.builds import BuildFacts
from harness.model.expectation import Ending, expect
from harness.scenario import Scenario, Transport, from_json, to_json
from harness.scenario.main_job import FROM_10_1, SCENARIOS, scenarios
from tests.unit.check.histories import FACTS

# The machine type that a run uses is known by asking QEMU; "q35" is the newest.
OLD = BuildFacts(**{**{f: getattr(FACTS, f) for f in FACTS.__struct_fields__}, "machine": ""})


def asked(requirement: str) -> list[str]:
    rule = next(rule for rule in RULES if rule.id == requirement)
    every = (*SCENARIOS, *FROM_10_1)
    return [each.name for each in every if not rule.skip_reason(each, expect(each, OLD, OLD))]


def test_every_rule_applies_to_some_scenario():
    assert not [rule.id for rule in RULES if not asked(rule.id)]


def test_builds_are_not_asked_about_properties_that_they_lack():
    assert scenarios((10, 0, 99)) == SCENARIOS
    assert scenarios((10, 1, 0)) == (*SCENARIOS, *FROM_10_1)


def test_port_that_every_user_can_connect_to_is_listened_at_with_tls_only():
    on_tcp = [each for each in (*SCENARIOS, *FROM_10_1) if each.transport is Transport.TCP]
    assert {each.name for each in on_tcp} == {"tls-x509", "tls-psk"}, "README and --help say so"
    assert all(each.has_tls for each in on_tcp)
    assert Scenario(name="x").transport is Transport.UNIX


def test_names_are_unique_so_that_the_report_can_name_runs():
    assert not [name for name, count in Counter(s.name for s in SCENARIOS).items() if count > 1]


def test_each_scenario_can_be_saved_and_repeated():
    assert [from_json(to_json(each)) for each in SCENARIOS] == list(SCENARIOS)


def test_no_scenario_names_a_qemu_so_that_the_user_does():
    assert not [each.name for each in SCENARIOS if each.qemu or each.qemu_dst]


def test_every_way_to_end_is_there():
    endings = {expect(each, OLD, OLD).ending for each in SCENARIOS}
    of_the_run = {Ending.REFUSED_IN_LOAD, Ending.WAITING, Ending.OPEN, Ending.STOPPED}
    of_newer = {Ending.REINIT_LATE}
    of_no_model = {Ending.NOT_JUDGED, Ending.NOT_CONVERGED}
    assert endings | of_the_run == set(Ending) - of_no_model - of_newer


def test_states_stay_small_so_that_the_job_stays_quick():
    assert sum(each.state_size for each in SCENARIOS) < 256 << 20
