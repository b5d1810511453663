"""A Linux kernel as a boot loader has to hand it over to QEMU."""

from __future__ import annotations

import struct

# Offsets of the setup header and a flag in xloadflags: the kernel's Documentation/arch/x86/boot.rst.
_MAGIC, _VERSION, _INITRD_MAX, _XLOADFLAGS, _ABOVE_4G = 0x202, 0x206, 0x22C, 0x236, 1 << 1
_MARGIN = 4 << 20
_LOW = 2 << 30  # a q35 has at least so much memory below 4 GiB, if it has so much at all


def placed(kernel: bytes, memory: int) -> bytes:
    """The kernel, told to want its initramfs some way below the end of ``memory`` bytes.

    QEMU puts it right below the firmware's tables, for which it expects 160 KiB; with the log of a TPM they are more,
    and would be overwritten. What is no bzImage is left as it is.
    """
    if kernel[_MAGIC : _MAGIC + 4] != b"HdrS" or struct.unpack_from("<H", kernel, _VERSION)[0] < 0x20C:
        return kernel
    changed = bytearray(kernel)
    struct.pack_into("<I", changed, _INITRD_MAX, min(memory, _LOW) - _MARGIN)
    (flags,) = struct.unpack_from("<H", kernel, _XLOADFLAGS)
    struct.pack_into("<H", changed, _XLOADFLAGS, flags & ~_ABOVE_4G)
    return bytes(changed)
