#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# PID 1 of a test machine with a root file system: mounts what systemd would, runs inside.py, ends the machine.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
exec </dev/console >/dev/console 2>&1
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /dev/pts /dev/shm /run/netns /run/sshd
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
mkdir -p /run/netns /run/sshd
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup /sys/fs/cgroup
mount -t tracefs trace /sys/kernel/tracing 2>/dev/null
mount --make-rshared /
ip link set lo up
hostname machine
python3 -B /mnt/checkout/source/tests/vm/inside.py /dev/vdd /dev/ttyS1
echo "inside.py ended with $?"
sync
echo b >/proc/sysrq-trigger
