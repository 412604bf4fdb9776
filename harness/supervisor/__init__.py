"""The **supervisor** answers QEMU's VFIO ioctls in place of a kernel driver.

A seccomp filter in QEMU hands every ioctl of VFIO's type to a listener; the supervisor's
thread takes it, asks ``harness.vfio`` for the answer and carries it out in QEMU's memory.
It never waits on the QEMU that it serves (QEMU is frozen while a call is answered) and
so does not import ``vm``.  After ``samples/seccomp/user-trap.c`` of Linux.
"""
