nice -n 5 bhyve -ACDeHPSuwWxY -c cpus=4,sockets=1,cores=2,threads=2 -m 8G -U 0e9f1a2b-3c4d-4e5f-8a9b-001122334455 -G w127.0.0.1:1234 -K de_noacc \
 -p 0:2 -p 0:3 -p 1:4 -f opt/org.example/key,string=hello -o system.manufacturer='ACME Inc.' \
 -s 0,amd_hostbridge -s 2,ahci,hd:/a.img,nmrr=1,ser=A1,cd:/b.iso,ro,hd:/c.img,sectorsize=512/4096,nodelete -s 3:0,nvme,ram=64 -s 3:1,nvme,/dev/nda1,maxq=8,sectsz=4096,eui64=0x1234,dsm=disable \
 -s 4,virtio-blk,/d.img,direct,nocache,ro,ser=D1,bootindex=1 -s 5,virtio-scsi,/dev/cam/ctl2.0,iid=3 -s 6,virtio-9p,share=/srv,ro -s 7,virtio-rnd -s 8,virtio-input,/dev/input/event0 \
 -s 9,virtio-console,org.a=/run/a.sock,b=/run/b.sock -s 10,hda,play=/dev/dsp0,rec=/dev/dsp0 -s 11,uart,/dev/nmdm5A -s 12,passthru,1/0/0,rom=/r.rom -s 13,e1000,netgraph,path=br0:,peerhook=link1,socket=web \
 -s 14,virtio-net,vale0:1,mtu=9000 -s 15,virtio-net,slirp,hostfwd=tcp:127.0.0.1:2222-10.0.2.15:22 -s 16,xhci,tablet -s 1:3:2,virtio-net,vmnet3 -s 31,lpc -o pci.0.4.0.foo=bar \
 -l bootrom,/usr/local/share/uefi-firmware/BHYVE_UEFI.fd,/vars.fd,fwcfg=qemu -l com1,stdio -l com2,/dev/nmdm2A -l com3,tcp=127.0.0.1:4001 -l tpm,passthru,/dev/tpm0 web
