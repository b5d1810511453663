#!/bin/busybox sh
# The first and only program of the test guest: says on com1 what machine it finds, then takes commands there.
#
# Every line that it says is a JSON object with "kind"; the last of the report is {"kind": "ready"}. Commands:
#   poweroff, reboot, halt, crash (the kernel panics), sh WORDS (runs them; answers {"kind": "ran", "code": N, "out": "..."})
# The power button powers off. Serial ports other than com1 and virtio-console ports echo what they get, line by line.

/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /tmp /mnt
echo 1 > /proc/sys/kernel/printk
# What could break JSON is left out: quotes, backslashes, control characters; and blanks around.
clean() { tr -d '"\\\000-\037' | sed 's/^ *//; s/ *$//'; }
# The first line of a file, without starting a program: an emulated CPU takes long for each.
get() {
    line=
    [ -e "$1" ] && read -r line 2>/dev/null < "$1"
    line="${line//\"/}"
    echo "${line%"${line##*[! ]}"}"
}
say() { printf '%s\n' "$1" > /dev/ttyS0; }
stty -F /dev/ttyS0 raw -echo 2>/dev/null

while read -r module; do insmod "/modules/$module" 2>/tmp/insmod || say "{\"kind\": \"trouble\", \"what\": \"$(cat /tmp/insmod | clean)\"}"; done < /modules/order

# What drivers probe in the background (disks, the tablet) is there when nothing has changed for 0.2 s.
settled=0 before=
while [ $settled -lt 2 ]; do
    now="$(echo /sys/class/block/* /sys/class/net/* /sys/class/sound/* /sys/class/input/* /sys/bus/scsi/devices/*)"
    if [ "$now" = "$before" ]; then settled=$((settled + 1)); else settled=0; fi
    before="$now"
    usleep 100000
done

# The address of the PCI device above something in /sys, as bus:slot.function.
place() { readlink -f "$1" | tr / '\n' | grep -E '^0000:..:..\..$' | tail -n 1 | cut -d: -f2-; }

for cpu in /sys/devices/system/cpu/cpu[0-9]*; do
    say "{\"kind\": \"cpu\", \"number\": ${cpu##*cpu}, \"socket\": $(get $cpu/topology/physical_package_id), \"core\": $(get $cpu/topology/core_id), \"siblings\": \"$(cat $cpu/topology/thread_siblings_list)\"}"
done
say "{\"kind\": \"memory\", \"kib\": $(awk '/^MemTotal/ {print $2}' /proc/meminfo), \"uuid\": \"$(get /sys/class/dmi/id/product_uuid)\", \"vendor\": \"$(get /sys/class/dmi/id/sys_vendor)\", \"serial\": \"$(get /sys/class/dmi/id/product_serial)\", \"clock\": $(date +%s), \"rtc\": $(cat /sys/class/rtc/rtc0/since_epoch 2>/dev/null || echo 0), \"firmware\": \"$([ -d /sys/firmware/efi ] && echo uefi || echo bios)\", \"cmdline\": \"$(get /proc/cmdline)\"}"

for device in /sys/bus/pci/devices/*; do
    driver="$(readlink "$device/driver")"
    say "{\"kind\": \"pci\", \"place\": \"${device##*/0000:}\", \"class\": \"$(get $device/class)\", \"id\": \"$(get $device/vendor):$(get $device/device)\", \"driver\": \"${driver##*/}\"}"
done

for disk in /sys/class/block/*; do
    name="${disk##*/}"
    case "$name" in loop*|ram*|dm-*) continue ;; esac
    [ -e "$disk/device" ] || continue
    serial="$(get $disk/serial)$(get $disk/device/serial)"
    # SATA and SCSI keep it in the page 0x80 of the vital product data, after four bytes.
    [ -n "$serial" ] || serial="$(dd if=$disk/device/vpd_pg80 bs=1 skip=4 2>/dev/null | clean)"
    say "{\"kind\": \"disk\", \"name\": \"$name\", \"place\": \"$(place $disk)\", \"bytes\": $(($(get $disk/size) * 512)), \"serial\": \"$serial\", \"model\": \"$(get $disk/device/model)\", \"ro\": $(get $disk/ro), \"logical\": $(get $disk/queue/logical_block_size), \"physical\": $(get $disk/queue/physical_block_size), \"rotational\": $(get $disk/queue/rotational), \"discard\": $(get $disk/queue/discard_max_bytes), \"head\": \"$(head -c 16 /dev/$name 2>/dev/null | clean)\"}"
done

for nic in /sys/class/net/*; do
    [ -e "$nic/device" ] || continue
    driver="$(readlink $nic/device/driver)"
    say "{\"kind\": \"nic\", \"name\": \"${nic##*/}\", \"place\": \"$(place $nic)\", \"mac\": \"$(get $nic/address)\", \"mtu\": $(get $nic/mtu), \"driver\": \"${driver##*/}\"}"
done

for tag in /sys/bus/virtio/drivers/9pnet_virtio/virtio*/mount_tag; do
    [ -e "$tag" ] || continue
    name="$(get $tag)"
    mkdir -p "/mnt/$name"
    mount -t 9p -o trans=virtio,version=9p2000.L "$name" "/mnt/$name" 2>/tmp/9p && mounted=true || mounted=false
    { echo from the guest > "/mnt/$name/written"; } 2>/dev/null && written=true || written=false
    say "{\"kind\": \"share\", \"name\": \"$name\", \"place\": \"$(place $tag)\", \"mounted\": $mounted, \"hello\": \"$(get "/mnt/$name/hello")\", \"written\": $written}"
done

# Every port but the first echoes. A port without a chip has type unknown, which stty shows by failing.
for port in 1 2 3; do
    [ "$(cat /sys/class/tty/ttyS$port/type)" = 0 ] && continue
    stty -F /dev/ttyS$port raw -echo 115200 2>/dev/null || continue
    say "{\"kind\": \"serial\", \"name\": \"ttyS$port\", \"place\": \"\"}"
    (while read -r line; do echo "com$((port + 1)): $line"; done < /dev/ttyS$port > /dev/ttyS$port) &
done
for port in /sys/bus/pci/drivers/serial/0000:*; do
    [ -e "$port" ] || continue
    for tty in $port/tty/ttyS*; do
        name="${tty##*/}"
        stty -F /dev/$name raw -echo 115200 2>/dev/null
        say "{\"kind\": \"serial\", \"name\": \"$name\", \"place\": \"${port##*/0000:}\"}"
        (while read -r line; do echo "uart: $line"; done < /dev/$name > /dev/$name) &
    done
done
for port in /sys/class/virtio-ports/*; do
    [ -e "$port" ] || continue
    say "{\"kind\": \"port\", \"name\": \"$(get $port/name)\", \"place\": \"$(place $port)\"}"
    # A port can be open once only, and reads as ended while nobody is at its other end.
    (name="$(get $port/name)"; while :; do if read -r line <&3; then echo "$name: $line" >&3; else usleep 50000; fi; done 3<>/dev/${port##*/}) &
done

if [ -e /dev/tpm0 ]; then
    # TPM2_GetRandom of 8 bytes: ten bytes of header, two of size, then they.
    answer="$( (printf '\200\001\000\000\000\014\000\000\001\173\000\010' >&3; dd bs=64 count=1 <&3 2>/dev/null) 3<>/dev/tpm0 | od -An -tx1 | tr -d ' \n')"
    say "{\"kind\": \"tpm\", \"version\": \"$(get /sys/class/tpm/tpm0/tpm_version_major)\", \"pcr0\": \"$(get /sys/class/tpm/tpm0/pcr-sha256/0)\", \"random\": \"$answer\"}"
fi
for card in /sys/class/sound/card[0-9]*; do
    [ -e "$card" ] || continue
    say "{\"kind\": \"sound\", \"place\": \"$(place $card)\", \"codec\": \"$(get $card/hwC*D0/chip_name)\"}"
done
[ -e /sys/class/misc/hw_random ] && say "{\"kind\": \"rng\", \"name\": \"$(get /sys/class/misc/hw_random/rng_current)\", \"bytes\": \"$(timeout 5 head -c 8 /dev/hwrng | od -An -tx1 | tr -d ' \n')\"}"
for input in /sys/class/input/input*; do
    say "{\"kind\": \"input\", \"name\": \"$(get $input/name)\", \"place\": \"$(place $input)\"}"
done
find /sys/firmware/qemu_fw_cfg/by_name/opt -type l 2>/dev/null | while read -r item; do
    say "{\"kind\": \"fw_cfg\", \"name\": \"${item#/sys/firmware/qemu_fw_cfg/by_name/}\", \"value\": \"$(get $item/raw)\"}"
done
say '{"kind": "ready"}'

# The power button: an input device named so gives an event of 24 bytes.
for input in /sys/class/input/event*; do
    case "$(get $input/device/name)" in Power*) (dd if=/dev/input/${input##*/} bs=24 count=1 >/dev/null 2>&1 && say '{"kind": "button"}' && poweroff -f) & ;; esac
done
while read -r verb words; do
    case "$verb" in
        poweroff) poweroff -f ;;
        reboot) reboot -f ;;
        halt) echo o > /proc/sysrq-trigger ;;
        crash) echo c > /proc/sysrq-trigger ;;
        sh)
            out="$(eval "$words" 2>&1)"
            code=$?
            say "{\"kind\": \"ran\", \"code\": $code, \"out\": \"$(printf %s "$out" | tr '\n' ' ' | clean)\"}"
            ;;
    esac
done < /dev/ttyS0
