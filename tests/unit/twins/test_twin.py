"""A twin: one defect, as a change of a history."""

from tests.twins.twin import Twin
from tests.unit.check.histories import good


def test_damaged_history_is_sorted_and_counted_anew():
    run = good("multifd")
    reverse = Twin("reverse", "ORD-1", lambda records: records[:1:-1], "multifd")
    damaged = reverse.of(run)
    assert list(damaged.records) == list(run.records[2:])
    assert damaged.manifest.records == len(run.records) - 2
