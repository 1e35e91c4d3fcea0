#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# A root file system becomes a container with systemd as its first process: mounts, processes and control group of its
# own, the network of whoever calls. What would reach the host from there is read-only or taken away.
#
#   machine.sh ROOT CGROUP [WORDS]     CGROUP: a new group of the host's cgroup2; WORDS: its kernel command line
set -e
root=$1 group=$2
shift 2
mkdir "$group"
echo $$ >"$group/cgroup.procs"
export root words="$*"
exec unshare --mount --uts --ipc --pid --cgroup --fork --kill-child sh -ec '
mount --make-rprivate /
mount --bind "$root" "$root"
cd "$root"
mount -t proc -o nosuid,nodev,noexec proc proc
mount --bind proc/sys/net proc/sys/net
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
[ ! -e proc/sysrq-trigger ] || mount --bind /dev/null proc/sysrq-trigger
mount -t sysfs -o ro,nosuid,nodev,noexec sys sys
mount -t cgroup2 -o nosuid,nodev,noexec cgroup sys/fs/cgroup
mount -t tmpfs -o mode=755,nosuid tmpfs dev
for node in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 "dev/${node%:*}" c 1 "${node#*:}"; done
mknod -m 600 dev/console c 1 3
mknod -m 666 dev/tty c 5 0
mkdir dev/pts dev/shm dev/mqueue dev/hugepages
mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=755,nosuid,nodev run run
hostname machine
# the kernel command line of a container is that of its first process; who reads the real one must find it there, too
echo "root=/dev/vda1 ro $words" >run/cmdline
mount --bind run/cmdline proc/cmdline
mkdir -p mnt
pivot_root . mnt
umount -l /mnt
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
	setpriv --bounding-set=-sys_module,-sys_time,-syslog,-sys_rawio,-mac_admin,-mac_override,-wake_alarm \
	/lib/systemd/systemd $words'
