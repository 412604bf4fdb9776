"""The qtest protocol: a line, and its answer."""

import asyncio
import os
import socket

import pytest

from harness.errors import LostVM
from harness.vm.qtest import QTest


@pytest.fixture
def qtest():
    made = QTest()
    yield made
    made.close()


async def with_answers(qtest, *answers):
    """What a QEMU that gives these answers is asked."""
    theirs = socket.socket(fileno=os.dup(qtest.fd))
    qtest.started()
    theirs.setblocking(False)
    loop, asked = asyncio.get_running_loop(), []

    async def serve():
        with theirs:
            for answer in answers:
                asked.append(await loop.sock_recv(theirs, 4096))
                for part in answer:
                    await loop.sock_sendall(theirs, part)

    return asked, loop.create_task(serve())


async def test_words_are_written_one_after_the_other(qtest):
    asked, serving = await with_answers(qtest, [b"OK\n"], [b"O", b"K\n"])
    await qtest.write(0xFD000000, 7, 8)
    await serving
    assert asked == [b"writel 0xfd000000 0x7\n", b"writel 0xfd000004 0x8\n"]


async def test_refusal_is_an_error_of_the_vm(qtest):
    _, serving = await with_answers(qtest, [b"FAIL Unknown command\n"])
    with pytest.raises(LostVM, match="qtest: writel 0x0 0x1: FAIL Unknown command"):
        await qtest.write(0, 1)
    await serving


async def test_qemu_that_is_gone(qtest):
    _, serving = await with_answers(qtest)
    await serving
    with pytest.raises(LostVM, match="no answer"):
        await qtest.write(0, 1)


def test_options_name_the_inherited_socket(qtest):
    assert f"socket,id=qtest,fd={qtest.fd}" in qtest.options()
