"""From scenarios to verdicts and a report: here session, check and report come together.

``run`` makes one run and judges it; ``job`` makes several and reports on them.  ``findings/``
has the scenario of each known deviation.
"""
