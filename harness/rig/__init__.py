"""The **rig**: a virtual machine with the kernel's own VFIO, for machines without it.

A stock Debian kernel boots on this machine's own root file system, which is read-only in it
except for given directories.  A command runs in it, and its exit status comes back.
``image`` is what ``make rig`` has built, ``accelerator`` knows whether KVM really boots it,
``command_line`` gets QEMU's command line from virtme-ng, ``follow`` runs it to its end,
``guest.sh`` runs first inside, and ``rig`` puts these together; ``scenarios`` runs scenarios in it.
"""
