"""Plugin of avocado: the project's tests and scenarios as tests of an avocado job.

``resolver`` turns files of pytest into runnables of the kind ``pytest``, one per test;
``pytest_runner`` runs one; ``scenario_runner`` runs scenarios and judges them, kind
``vfio-multifd``.  The only part of the project that imports avocado, which is an extra:
``pip install .[avocado]``.
"""
