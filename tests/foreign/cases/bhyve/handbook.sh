bhyve -c 1 -m 1G -w -H -s 0,hostbridge -s 3,ahci-cd,/iso/install.iso -s 4,virtio-blk,disk.img -s 5,virtio-net,tap0 \
  -s 29,fbuf,tcp=0.0.0.0:5900,w=800,h=600,wait -s 30,xhci,tablet -s 31,lpc -l com1,stdio -l bootrom,/usr/local/share/uefi-firmware/BHYVE_UEFI.fd linuxguest
