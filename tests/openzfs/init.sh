#!/bin/busybox sh
# The first program of the OpenZFS guest: answers commands on a virtio-console port, one after the other.
#
# A command is one line, a shell script in base64. Its answer is "begin", the script's output on stdout in base64,
# a line "--", that on stderr in base64, and a line "end CODE".

/bin/busybox --install -s /bin
export PATH=/bin HOME=/ LC_ALL=C TZ=UTC LD_LIBRARY_PATH=/lib
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs -o size=80% tmp /tmp
mkdir -p /dev/zvol
ln -s /proc/mounts /etc/mtab
echo 1 > /proc/sys/kernel/printk
while read -r module; do insmod "/modules/$module.ko" || echo "no module $module"; done < /modules/order
mdev -s

# What udev does where it is: names for the volumes' devices.
zvols() {
    for each in /sys/block/zd*; do
        [ -e "$each" ] || continue
        device="/dev/${each##*/}"
        name="$(zvol_id "$device" 2>/dev/null)" || continue
        mkdir -p "/dev/zvol/${name%/*}"
        ln -sf "$device" "/dev/zvol/$name"
    done
}

port="$(ls -d /sys/class/virtio-ports/vport*)"
port="/dev/${port##*/}"
cd /tmp
exec 3<> "$port"
echo ready >&3
while read -r line <&3; do
    echo "$line" | base64 -d > /run/script
    case "$(cat /run/script)" in *dev/zvol*) sync; usleep 100000; zvols ;; esac
    sh /run/script > /run/out 2> /run/err < /dev/null 3>&-
    code=$?
    { echo begin; base64 < /run/out; echo --; base64 < /run/err; echo "end $code"; } >&3
done
poweroff -f
