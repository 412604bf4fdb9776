"""From scenarios to verdicts and a report: here session, check and report come together.

``run`` makes the migrations of one scenario and judges them.  ``job`` makes the runs of several
scenarios, which ``settings`` chooses, and reports on them; ``saved`` judges saved runs again;
``entry`` is one run in a report.  ``known`` has the known deviations, ``findings/`` the
scenario of each.
"""
