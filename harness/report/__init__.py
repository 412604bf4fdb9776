"""The **report**: renders runs, verdicts and figures for people and for programs.

It never judges: verdicts come from ``check``, figures from ``measure``.

- ``summary``: what is reported, the runs and the requirements over all runs
- ``format``, ``table``: findings, records and figures as text
- ``terminal``, ``progress``: for a terminal
- ``html``, ``charts``: one page for a browser; ``perfetto``: a run for ui.perfetto.dev
- ``json_report``, ``ci_points``, ``tap``, ``junit``: for programs and CI
- ``comparison``, ``comparison_text``: two sets of runs
- ``measurement_text``, ``plot``: a measurement
- ``stuck``: where a migration that did not end is stuck
- ``by_hand``: the script that does a run's migration without the harness
- ``emit``, ``files``: write all that is wanted

Imports ``measure``, ``check.verdict`` and ``check.deviations`` (verdicts and known deviations),
``history``, ``scenario`` and ``errors``.
"""
