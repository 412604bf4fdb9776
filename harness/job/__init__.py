"""From scenarios to verdicts and a report: here session, check and report come together.

``run`` makes the migrations of one scenario and judges them.  ``job`` makes the runs of several
scenarios, which ``settings`` chooses, and reports on them; ``saved`` judges saved runs again, and
``entry`` is what a report has of each.  ``known`` has the known deviations, ``findings/`` the
scenario of each.
"""
