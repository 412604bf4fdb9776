"""The **supervisor** answers QEMU's VFIO ioctls in place of a kernel driver.

A seccomp filter in QEMU passes every ioctl of VFIO's type to a listener.  The supervisor's thread
receives it, gets the answer from ``harness.vfio`` and writes it to QEMU's memory.  It never waits
for the QEMU that it serves, which is blocked during the call, and so does not import ``vm``.
After ``samples/seccomp/user-trap.c`` of Linux.
"""
