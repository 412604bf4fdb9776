"""What the command line says when something is wrong."""


def one_line(text: str) -> str:
    (line,) = text.splitlines()
    assert line.startswith("vfio-multifd: error: ")
    return line
