"""Guests for tests: hand-made UEFI programs of a few hundred bytes, each as a bootable raw disk image.

Every function here returns a disk: a bare FAT12 file system of 1.44 MB whose only file is
``EFI/BOOT/BOOTX64.EFI``, which OVMF starts some seconds after power-on. Write it to a disk's file::

    (path / "disk0.img").write_bytes(efi.shutdown())

======================  ==================================================================================
`reset`                 prints, then resets the machine: bhyve ends with 0
`shutdown`              prints, then powers off: bhyve ends with 1
`triple_fault`          prints, then faults three times: bhyve ends with 3
`halt`                  prints, then halts with interrupts off: bhyve ends with 2
`hang`                  prints, then spins for ever without ACPI: SIGTERM kills bhyve
`acpi`                  prints, enables ACPI and powers off when the power button is pressed (SIGTERM: 1)
`acpi_idle`             the same, but it sleeps (hlt) until the button's interrupt: a guest that costs no time
`acpi_deaf`             as `acpi`, but it never looks at the button
`echo`                  prints, then echoes com1; Ctrl-P powers off, Ctrl-R resets, Ctrl-T triple-faults
======================  ==================================================================================

What they print goes to com1 (default ``ready`` and a line end). Facts: UEFI specification 2.10 (tables,
PE32+ images), the 8250's ports 0x3f8-0x3ff, the power management ports that OVMF gives a q35 machine at 0x600.
"""

from __future__ import annotations

import struct

READY = "ready\r\n"

_COLD, _SHUTDOWN = 0, 2  # EFI_RESET_TYPE

# The entry point gets the system table in rdx; rbx keeps it. The firmware's watchdog would reset after 5 minutes.
_ENTER = bytes.fromhex(
    "4883ec28 4889d3"  # sub rsp,40; mov rbx,rdx
    "488b4360 31c9 31d2 4531c0 4531c9 ff9000010000"  # BootServices->SetWatchdogTimer(0, 0, 0, NULL)
    "fa"  # cli: else the firmware's console goes on reading com1
)


def _reset_system(kind: int) -> bytes:
    """``SystemTable->RuntimeServices->ResetSystem(kind, 0, 0, NULL)``"""
    return (
        bytes.fromhex("488b4358")  # mov rax,[rbx+0x58]
        + b"\xb9" + struct.pack("<I", kind)  # mov ecx,kind
        + bytes.fromhex("31d2 4531c0 4531c9 ff5068")  # xor edx,edx; xor r8d,r8d; xor r9d,r9d; call [rax+0x68]
        + _SPIN
    )  # fmt: skip


_SPIN = bytes.fromhex("f390 ebfc")  # pause; jmp $-2
_HALT = bytes.fromhex("f4 ebfd")  # hlt; jmp hlt
_TRIPLE_FAULT = bytes.fromhex("6a00 6a00 0f011c24 cc")  # push 0; push 0; lidt [rsp]; int3


def _print(text: str) -> bytes:
    """Write ``text`` to com1, waiting for the transmitter before each byte."""
    data = text.encode() + b"\0"
    return (
        b"\xe8" + struct.pack("<I", len(data)) + data  # call over the text: its address is on the stack
        + bytes.fromhex(
            "5e"  # pop rsi
            "ac 84c0 7414"  # next: lodsb; test al,al; jz out
            "88c1"  # mov cl,al
            "66bafd03 ec a820 74f7"  # wait: mov dx,0x3fd; in al,dx; test al,0x20; jz wait
            "88c8 66baf803 ee"  # mov al,cl; mov dx,0x3f8; out dx,al
            "ebe7"  # jmp next
        )
    )  # fmt: skip


def reset(text: str = READY) -> bytes:
    return disk(_ENTER + _print(text) + _reset_system(_COLD))


def shutdown(text: str = READY) -> bytes:
    return disk(_ENTER + _print(text) + _reset_system(_SHUTDOWN))


def triple_fault(text: str = READY) -> bytes:
    return disk(_ENTER + _print(text) + _TRIPLE_FAULT)


def halt(text: str = READY) -> bytes:
    return disk(_ENTER + _print(text) + _HALT)


def hang(text: str = READY) -> bytes:
    return disk(_ENTER + _print(text) + _SPIN)


# An operating system asks for ACPI (2 to the SMI command port) and for the power button's event (PM1_EN).
_ACPI = bytes.fromhex(
    "b002 e6b2 66ba0206 66b80001 66ef"
)  # mov al,2; out 0xb2,al; mov dx,0x602; mov ax,0x100; out


def acpi(text: str = READY) -> bytes:
    poll = bytes.fromhex(
        "66ba0006 f390 66ed f6c401 74f7"
    )  # mov dx,0x600; poll: pause; in ax,dx; test ah,1; jz poll
    return disk(_ENTER + _ACPI + _print(text) + poll + _reset_system(_SHUTDOWN))


# The button raises IRQ 9, which the 8259s are told to make vector 0x71: its gate leads over the sleep.
_SLEEP = bytes.fromhex(
    "4883ec10 0f010c24 488b7c2402 4881c710070000"  # sub rsp,16; sidt [rsp]; mov rdi,[rsp+2]; add rdi,0x71*16
    "488d354f000000"  # lea rsi,[rip+0x4f]: what follows this code
    "668937 8c4f02 66c74704008e"  # mov [rdi],si; mov [rdi+2],cs; mov word [rdi+4],0x8e00
    "48c1ee10 66897706 48c1ee10 48897708"  # shr rsi,16; mov [rdi+6],si; shr rsi,16; mov [rdi+8],rsi
    "b011 e620 e6a0 b068 e621 b070 e6a1 b004 e621 b002 e6a1 b001 e621 e6a1"  # ICW 1 to 4 of both 8259s
    "b0fb e621 b0fd e6a1"  # mov al,0xfb; out 0x21,al; mov al,0xfd; out 0xa1,al: the cascade and IRQ 9 only
    "b82003e0fe c70000000100"  # mov eax,0xfee00320; mov dword [rax],0x10000: the local APIC's timer is off
    "fb f4 ebfd"  # sti; hlt; jmp hlt
)
_ALIGN = bytes.fromhex("4883ec28")  # sub rsp,40


def acpi_idle(text: str = READY) -> bytes:
    return disk(_ENTER + _ACPI + _print(text) + _SLEEP + _ALIGN + _reset_system(_SHUTDOWN))


def acpi_deaf(text: str = READY) -> bytes:
    return disk(_ENTER + _ACPI + _print(text) + _SPIN)


def echo(text: str = READY) -> bytes:
    poweroff, cold = _reset_system(_SHUTDOWN), _reset_system(_COLD)
    loop = bytearray.fromhex("66bafd03 f390 ec a801 74f9 66baf803 ec")  # wait for LSR bit 0; read the byte
    for key, code in ((0x10, poweroff), (0x12, cold), (0x14, _TRIPLE_FAULT)):
        loop += bytes([0x3C, key, 0x75, len(code)]) + code  # cmp al,key; jne over the code
    loop += b"\xee"  # out dx,al
    loop += b"\xe9" + struct.pack("<i", -(len(loop) + 5))
    return disk(_ENTER + _print(text) + bytes(loop))


def program(code: bytes) -> bytes:
    """A PE32+ image whose entry point is the first byte of ``code``, which is position independent."""
    size = -(-len(code) // 512) * 512
    head = b"MZ" + bytes(58) + struct.pack("<I", 64)
    coff = struct.pack("<4sHHIIIHH", b"PE\0\0", 0x8664, 1, 0, 0, 0, 240, 0x0022)
    optional = struct.pack(
        "<HBBIIIII QIIHHHHHHIIIIHHQQQQII",
        0x20B, 0, 0, size, 0, 0, 0x1000, 0x1000,
        0, 0x1000, 512, 0, 0, 0, 0, 0, 0, 0, 0x1000 + size, 512, 0, 10, 0, 0, 0, 0, 0, 0, 16,
    ) + bytes(16 * 8)  # fmt: skip
    section = struct.pack("<8sIIIIIIHHI", b".text", size, 0x1000, size, 512, 0, 0, 0, 0, 0xE0000020)
    return (head + coff + optional + section).ljust(512, b"\0") + code.ljust(size, b"\0")


def disk(code: bytes) -> bytes:
    """A FAT12 file system of 2880 sectors (a 1.44 MB floppy's) that boots ``code``."""
    binary = program(code)
    boot = b"\xeb\x3c\x90" + struct.pack(
        "<8sHBHBHHBHHHII BBBI11s8s",
        b"EFITEST ", 512, 1, 1, 2, 224, 2880, 0xF0, 9, 18, 2, 0, 0,
        0x80, 0, 0x29, 0xB007, b"EFITEST    ", b"FAT12   ",
    )  # fmt: skip
    image = bytearray(2880 * 512)
    image[: len(boot)] = boot
    image[510:512] = b"\x55\xaa"
    clusters = -(-len(binary) // 512)
    fat = [0xFF0, 0xFFF, 0xFFF, 0xFFF, *range(5, 4 + clusters), 0xFFF]
    if len(fat) % 2:
        fat.append(0)
    packed = b"".join((a | b << 12).to_bytes(3, "little") for a, b in zip(fat[::2], fat[1::2], strict=True))
    for copy in (1, 10):
        image[copy * 512 : copy * 512 + len(packed)] = packed

    def entry(name: str, cluster: int, size: int = 0) -> bytes:
        attributes = 0x20 if size else 0x10
        return struct.pack("<11sB10xHHHI", name.encode(), attributes, 0, 0x21, cluster, size)

    def put(sector: int, data: bytes) -> None:
        image[sector * 512 : sector * 512 + len(data)] = data

    data = 19 + 14  # the root directory starts at sector 19 and is 14 sectors long; then comes cluster 2
    put(19, entry("EFI        ", 2))
    put(data, entry(".          ", 2) + entry("..         ", 0) + entry("BOOT       ", 3))
    put(data + 1, entry(".          ", 3) + entry("..         ", 2) + entry("BOOTX64 EFI", 4, len(binary)))
    put(data + 2, binary)
    return bytes(image)
