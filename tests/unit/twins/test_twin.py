"""A twin: one defect, as a change of a history."""

from tests.twins import twin as twins
from tests.twins.twin import Twin, twin
from tests.unit.check.histories import good


def test_damage_is_registered_under_its_name(monkeypatch):
    registered: list[Twin] = []
    monkeypatch.setattr(twins, "TWINS", registered)

    @twin("ORD-1", "RUN", on="slow")
    def all_lost(_records):
        return []

    assert registered == [Twin("all_lost", "ORD-1", all_lost, "slow", frozenset({"RUN"}))]


def test_damaged_history_is_sorted_and_counted_anew():
    run = good("multifd")
    reverse = Twin("reverse", "ORD-1", lambda records: records[:1:-1], "multifd")
    damaged = reverse.of(run)
    assert list(damaged.records) == list(run.records[2:])
    assert damaged.manifest.records == len(run.records) - 2
