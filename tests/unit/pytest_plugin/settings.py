"""Settings of a project that uses the plugin."""

INI = """[pytest]
addopts = -p harness.pytest_plugin
asyncio_default_fixture_loop_scope = function
"""
