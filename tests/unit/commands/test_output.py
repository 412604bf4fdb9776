"""One line, whatever it holds."""

from harness.commands import output


def test_complaint_is_one_line_of_standard_error(capsys):
    output.complain("two\nlines,   one blank")
    assert capsys.readouterr().err == "vfio-multifd: error: two lines, one blank\n"


def test_said_is_a_line_of_standard_output(capsys):
    output.say("so")
    assert capsys.readouterr().out == "so\n"
