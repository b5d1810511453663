"""What zfs(8) and zpool(8) of the lab are made of: OpenZFS 2.2 as FreeBSD 14 has it, in one JSON file."""
