"""Answers are plain data."""

import dataclasses
import errno

import pytest

from harness.vfio.answer import DONE, UNKNOWN, Answer, InstallDataFd, refuse


def test_done_succeeds_and_touches_nothing():
    assert (DONE.errno, DONE.writes, DONE.install, DONE.drops_data_fd) == (0, (), None, False)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENODEV])
def test_refusal_fails_and_touches_nothing(number):
    assert refuse(number) == Answer(errno=number)


def test_what_the_kernel_lacks_is_enotty():
    assert UNKNOWN.errno == errno.ENOTTY
    assert not UNKNOWN.writes


@pytest.mark.parametrize("answer", [DONE, InstallDataFd(is_saving=True, address=4)])
def test_answer_cannot_be_changed(answer):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(answer, dataclasses.fields(answer)[0].name, 1)
