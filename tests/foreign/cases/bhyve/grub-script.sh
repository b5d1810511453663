grub-bhyve -m /vm/deb/device.map -r hd0,msdos1 -M 1024M deb
bhyve -A -H -P -s 0:0,hostbridge -s 1:0,lpc -s 2:0,virtio-net,tap1 -s 3:0,virtio-blk,/vm/deb/disk0.img -l com1,stdio -c 2 -m 1024M deb
