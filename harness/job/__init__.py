"""From scenarios to verdicts and a report: the only package that joins session, check and report.

``run`` makes one run and judges it; ``job`` makes several and reports on them.  ``findings/``
has the scenario of each known deviation.
"""
