"""Avocado leaves files open while it is imported: not an error of the tests that import it."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", ResourceWarning)
    import avocado.core.job
    import avocado.core.resolver  # noqa: F401
