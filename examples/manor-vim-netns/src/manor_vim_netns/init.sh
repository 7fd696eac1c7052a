#!/bin/sh -eu
# First process of a node, in namespaces of its own. Makes a root of its own over the image, drops what it does not need,
# and becomes the node: the boot script, then a reaper that lives as long as the node.
#   init.sh PLACE LOWER SIZE HOSTNAME CGROUP...
place=$1 lower=$2 size=$3 name=$4
shift 4
for group; do
    echo $$ >"$group/cgroup.procs" || :
done
hostname "$name"
mount --make-rprivate /
mount -t tmpfs -o "size=$size,mode=0755" manor "$place"
mkdir "$place/upper" "$place/work" "$place/root"
mount -t overlay -o "lowerdir=$lower,upperdir=$place/upper,workdir=$place/work" overlay "$place/root"
cp "$place.boot" "$place/boot"
cd "$place/root"
mkdir -p proc sys dev run tmp
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=0755 dev dev
mount -t tmpfs run run
mount -t tmpfs tmp tmp
for device in null zero random urandom tty; do
    touch "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
# The kernel is the host's, and so are its modules: those that the image brings count as loaded.
mount -t tmpfs modules sys/module
find lib/modules -name '*.ko*' 2>/dev/null | sed -e 's,.*/,,' -e 's,\.ko.*,,' -e 's,-,_,g' | while read -r module; do
    mkdir -p "sys/module/$module"
done
mkdir run/manor
install -m 0700 "$place/boot" run/manor/boot
keep=+net_admin,+net_raw,+net_bind_service,+chown,+dac_override,+fowner,+fsetid,+kill,+setuid,+setgid
exec setpriv --bounding-set "-all,$keep,+sys_chroot" --inh-caps -all chroot . /bin/sh -c '
    export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    cd /
    if /run/manor/boot >/run/manor/boot.log 2>&1; then : >/run/manor/ready; else echo "$?" >/run/manor/failed; fi
    while :; do sleep 3600 & wait; done
' manor-node
