"""The **report**: tells people and programs what the runs and their verdicts say.

Renders and never judges: what is told here was decided in ``check``.  ``summary`` has what
is reported, ``words`` turns findings and records into sentences, ``terminal`` and
``json_report`` print them, ``progress`` tells what is being done meanwhile, and
``by_hand`` writes the script that starts the same two QEMUs without the harness.

Imports ``history``, ``scenario``, ``errors`` and the types of ``check.verdict`` only.
"""
