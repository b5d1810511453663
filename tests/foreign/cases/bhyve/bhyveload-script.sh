#!/bin/sh
# starts the build host
kldload vmm
ifconfig tap0 create
bhyveload -m 4G -d /dev/zvol/tank/build -e autoboot_delay=1 build && \
  bhyve -AHP -c4 -m4G -s 0,hostbridge -s 2,virtio-blk,/dev/zvol/tank/build -s 3,virtio-net,tap0,mac=58:9c:fc:00:00:07 -s 31,lpc -l com1,/dev/nmdm0A build > /var/log/build.log 2>&1 &
bhyvectl --destroy --vm=build
