"""The **rig**: a virtual machine with the kernel's own VFIO, for machines without it.

A stock Debian kernel boots on this machine's own root file system, which it can only
read, but for the folders given; a command runs in it and its status comes back.
``image`` knows what ``make rig`` has built, ``accelerator`` whether KVM really boots it,
``command_line`` asks virtme-ng for the QEMU that does, ``follow`` runs that to its end,
``guest.sh`` is what runs first inside, and ``rig`` puts these together.

May import ``vm`` and what is below it.
"""
