"""A connection is refused."""

from harness.proxy.events import Refused
from harness.scenario import fault_plan as plan
from harness.scenario.fault_plan import Refusal


def test_its_own_connection_is_counted(play) -> None:
    book = play(plan.RefuseConnection(accepted=1, how=Refusal.CLOSED))
    assert book.handler.refuses == (1, Refusal.CLOSED)
    book >> Refused(0)
    assert book.handler.fired == 0
    book >> Refused(1)
    assert book.handler.fired == 1
    assert book.notes == ["connection refused: closed"]
