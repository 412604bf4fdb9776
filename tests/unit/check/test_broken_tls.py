"""Twins of runs with TLS are among all the others, which are shown in ``test_broken``."""

from harness.check.broken import TWINS
from harness.check.broken_tls import TWINS as TWINS_OF_TLS


def test_they_are_shown_with_the_others():
    assert TWINS_OF_TLS
    assert [twin for twin in TWINS if twin in TWINS_OF_TLS] == TWINS_OF_TLS
    assert {twin.requirement for twin in TWINS_OF_TLS} == {"SET-5"}
