#!/bin/sh
# What runs first in the rig, as root: guest.sh FOLDER
#
# FOLDER/command is the command to run; FOLDER/settings says where modules and programs
# are, and which folders may be written.  The command's output goes to ports of its own,
# for the console is the kernel's.  Its status is written to FOLDER/status in one step, so
# that an existing status is complete; if something fails before, there is none.
set -eu

folder=$1
programs='' modules='' path='' root='' writable=''
# shellcheck source=/dev/null
. "$folder/settings"

port() { # NAME: the device file of that virtio-serial port
    for entry in /sys/class/virtio-ports/*; do
        read -r name <"$entry/name"
        if [ "$name" = "$1" ]; then echo "/dev/${entry##*/}"; fi
    done
}
exec </dev/null >"$(port rig.stdout)" 2>"$(port rig.stderr)"

# Where the root file system has no /lib/modules to mount anything on.
mkdir -p /run/rig/bin /run/rig/tmp
printf '#!/bin/sh\nexec %s/modprobe --dirname=%s "$@"\n' "$programs" "$modules" \
    >/run/rig/bin/modprobe
chmod 755 /run/rig/bin/modprobe
echo /run/rig/bin/modprobe >/proc/sys/kernel/modprobe # for what the kernel itself asks for

export PATH="/run/rig/bin:$programs:$path:/usr/sbin:/sbin" # $path need not be root's
export TMPDIR=/run/rig/tmp
export VFIO_MULTIFD_RIG=1

# virtme-ng has started this machine's udevd, if it has one.  That renames network interfaces
# while a test looks at them; and the rig is the same on a machine that has none.
for name in systemd-udevd udevd; do
    "$programs/busybox" killall "$name" 2>/dev/null || continue
    while "$programs/busybox" pidof "$name" >/dev/null; do "$programs/busybox" sleep 0.05; done
done

"$programs/busybox" ip link set lo up
[ -d /sys/kernel/debug/x86 ] || mount -t debugfs none /sys/kernel/debug
modprobe -a vfio_iommu_type1 vfio_pci
for module in "$modules/lib/modules/$(uname -r)"/extra/*.ko; do
    modprobe "$(basename "$module" .ko)"
done

# The root file system once more, with a cache: it does not change while we run, but for
# the folders that may be written, and these stay without.
new=/run/rig/root
mkdir "$new"
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose "$root" "$new"
for path in /proc /sys /dev; do
    mount --rbind "$path" "$new$path"
done
for path in /run $writable; do
    mount --bind "$path" "$new$path"
done

echo >"$folder/.began"
status=0
chroot "$new" sh "$folder/command" || status=$?
echo "$status" >"$folder/.status"
mv "$folder/.status" "$folder/status"
