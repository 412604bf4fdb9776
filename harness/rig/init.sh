#!/bin/sh
# The first process of the rig: init.sh INIT becomes INIT, that of virtme-ng.
#
# That one starts this machine's udevd, if it has one, lets it look at all devices, and waits for it:
# a third of the boot without KVM.  Nothing in the rig needs it, so a program that does nothing is
# put in its place.
for path in /lib/systemd/systemd-udevd /sbin/udevd /bin/udevadm /sbin/udevadm; do
    [ ! -x "$path" ] || mount --bind /bin/true "$path"
done
exec "$@"
