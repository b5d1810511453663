#!/bin/sh
while true
do doas env LANG=C bhyve -AHP -D -c 2 -m 1024 -s 0,hostbridge -s 3,ahci-hd,"/vm/with space/a.img" -s 31,lpc -l bootrom,/usr/local/share/uefi-firmware/BHYVE_UEFI.fd loop || break
done
