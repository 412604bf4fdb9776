"""What the tests of the command line share."""

import pytest

from harness import cli


@pytest.fixture
def call(capsys):
    """Calls the command line: (exit status, standard output, standard error)."""

    def call(*argv) -> tuple[int, str, str]:
        try:
            status = cli.main([str(word) for word in argv])
        except SystemExit as ended:
            status = int(ended.code or 0)
        said = capsys.readouterr()
        return status, said.out, said.err

    return call
