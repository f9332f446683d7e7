#!/usr/bin/env bash
# Boots a machine of its own out of this one's /usr: systemd as process 1, with its own processes, network, accounts and
# control group. What it writes goes to memory and is gone with it. Nothing here needs an engine or a download.
#
#   machine.sh CONTROL-GROUP SHARED-FOLDER      as root; scripts/check_machine.sh calls it
#
# The machine sees the shared folder as /shared and this repository as /repository (to be read only), runs
# /shared/exercise once as root when it is up, and ends with it.
set -euo pipefail

group=$1 shared=$2
repository=$(cd "$(dirname "$0")/../.." && pwd)
root=$shared/root

if [ "${3:-}" != inside ]; then
  # Process 1 owns the tree of control groups that it sees: it is to see one of its own.
  echo $$ >"$group/cgroup.procs"
  exec unshare --mount --pid --fork --kill-child --uts --ipc --net --cgroup "$0" "$group" "$shared" inside
fi

mount --make-rprivate /
mkdir -p "$root"
mount -t tmpfs -o size=512m,mode=755 tmpfs "$root"
cd "$root"
mkdir -p usr etc/systemd/system proc sys dev/pts run tmp var/lib var/log shared repository old .usr/upper .usr/work
mount -t overlay -o "lowerdir=/usr,upperdir=$root/.usr/upper,workdir=$root/.usr/work" overlay usr
for link in bin sbin lib lib32 lib64; do
  [ ! -e "usr/$link" ] || ln -s "usr/$link" "$link"
done
mount -t proc proc proc
# Variables of the kernel are the real machine's: they are not to be changed from in here.
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t tmpfs tmpfs sys/fs/cgroup
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do
  : >"dev/$device"
  mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/pts dev/shm
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount --bind "$shared" shared
mount --bind "$repository" repository
mount -o remount,bind,ro repository
: >shared/console
: >dev/console
mount --bind shared/console dev/console

# A machine without a history: no account but root's, no service but those below and systemd's own.
printf 'root:x:0:0:root:/root:/bin/sh\n' >etc/passwd
printf 'root:x:0:\n' >etc/group
printf 'passwd: files systemd\ngroup: files systemd\nhosts: files dns\n' >etc/nsswitch.conf
printf '127.0.0.1 localhost db broker postgres redis relay\n' >etc/hosts
printf 'ID=machine\n' >etc/os-release
printf 'machine\n' >etc/hostname
tr -d - </proc/sys/kernel/random/uuid >etc/machine-id
# Names such as awk lead through here on Debian.
cp -a /etc/alternatives etc/ 2>/dev/null || true
cat >etc/systemd/system/exercise.service <<'UNIT'
[Unit]
Description=What is tried in this machine
After=multi-user.target
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=oneshot
TimeoutStartSec=350
ExecStart=/shared/exercise
StandardOutput=file:/shared/output
StandardError=file:/shared/output
UNIT
cat >etc/systemd/system/machine.target <<'UNIT'
[Unit]
Description=All that this machine is for
Requires=multi-user.target
Wants=exercise.service
UNIT
cp -r shared/units/. etc/systemd/system/
# Further folders, at their own places, to be read only.
if [ -e shared/folders ]; then
  while read -r folder; do
    mkdir -p "$root$folder"
    mount --bind "$folder" "$root$folder"
    mount -o remount,bind,ro "$root$folder"
  done <shared/folders
fi
for unit in console-getty.service systemd-logind.service systemd-journald-audit.socket sys-kernel-debug.mount \
  sys-kernel-tracing.mount sys-fs-fuse-connections.mount dev-hugepages.mount dev-mqueue.mount; do
  ln -s /dev/null "etc/systemd/system/$unit"
done

pivot_root . old
umount -l old
rmdir old
# As systemd does on a machine that is no container: credentials come to a unit by a mount that reaches others.
mount --make-rshared /
exec env -i container=unshare PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin \
  /usr/lib/systemd/systemd --system --unit=machine.target --show-status=no --log-target=journal --log-level=notice
