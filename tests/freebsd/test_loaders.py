"""bhyveload(8) and grub-bhyve(1): their consoles differ."""

from __future__ import annotations

from bhype.freebsd import loaders


def test_bhyveload_is_told_of_the_terminal_and_grub_takes_it_by_itself():
    """grub-bhyve(1) opens whatever follows -c as a device, "stdio" as well."""
    ours = loaders.bhyveload("web1", memory=1 << 30, disk="/vms/disk0.img")
    assert ours.argv[1:3] == ("-c", "stdio")
    grub = {"memory": 1 << 30, "device_map": "/vms/device.map", "root": "hd0,1"}
    assert "-c" not in loaders.grub_bhyve("web1", **grub).argv
    on_a_line = loaders.grub_bhyve("web1", console="/dev/nmdm-web1.1A", **grub).argv
    assert on_a_line[1:3] == ("-c", "/dev/nmdm-web1.1A")
