"""bhyveload and grub-bhyve: their grammar, what they refuse, and what the following bhyve starts."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhype.lab import grub_disk, grub_kernel, grub_script
from tests.lab.conftest import drop_lab, make_lab

MISSING = "No such file or directory"


@pytest.fixture(scope="module")
def host():
    lab = make_lab()
    lab.ok("kldload", "vmm", "nmdm")
    lab.path("/vm").mkdir()
    lab.path("/vm/disk").write_bytes(boot_sector().ljust(1 << 20, b"\0"))
    lab.path("/vm/device.map").write_text("(hd0) /vm/disk\n(cd0) /vm/none\n")
    lab.path("/boot/grub").mkdir()
    yield lab
    drop_lab(lab)


@pytest.fixture
def vm(host):
    yield "vm1"
    host("bhyvectl", "--vm=vm1", "--destroy")


def boot_sector() -> bytes:
    """A disk that says "hi" on com1 and halts for good: mov dx,0x3f8; mov al,'h'; out; mov al,'i'; out; cli; hlt."""
    return bytes.fromhex("baf803 b068 ee b069 ee fa f4 ebfc").ljust(510, b"\0") + b"\x55\xaa"


def loaded(host, name):
    return json.loads((host.path("/").parent / "state/loaded.json").read_text()).get(name)


def test_a_vm_without_boot_rom_needs_a_loader_before_each_start(host, vm):
    console = ("-s", "31,lpc", "-l", "com1,stdio", "-m", "64M", "-s", "4,virtio-blk,/vm/disk")
    assert host.fails("bhyve", *console, vm, code=4) == "virtual machine cannot be booted\n"
    host.ok("bhyvectl", f"--vm={vm}", "--destroy")
    assert "Booting" in host.ok("bhyveload", "-m", "64M", "-c", "stdio", "-d", "/vm/disk", vm)
    assert host.path(f"/dev/vmm/{vm}").exists()
    answer = host("bhyve", "-A", *console, vm, timeout=60)
    assert (answer.code, answer.out[-2:]) == (2, "hi")
    # the guest has used what was loaded
    assert host("bhyve", *console, vm).code == 3


def test_bhyve_must_be_given_the_memory_that_the_loader_was(host, vm):
    host.ok("bhyveload", "-m", "64M", "-d", "/vm/disk", vm)
    assert host.fails("bhyve", "-m", "65M", vm, code=4) == "Unable to setup memory (22)\n"


def test_destroying_the_vm_forgets_what_was_loaded(host, vm):
    host.ok("bhyveload", "-d", "/vm/disk", vm)
    assert loaded(host, vm)["memory"] == 256 << 20
    host.ok("bhyvectl", f"--vm={vm}", "--destroy")
    assert loaded(host, vm) is None


USAGE = "usage: bhyveload [-S][-c <console-device>]"
REFUSED = [
    ((), 1, USAGE),
    (("a", "b"), 1, USAGE),
    (("-z", "a"), 1, "bhyveload: illegal option -- z\n" + USAGE),
    (("-m",), 1, "bhyveload: option requires an argument -- m\n" + USAGE),
    (("-d", "/none", "a"), 64, "bhyveload: Could not open '/none'\n"),
    (("-c", "/none", "a"), 64, "bhyveload: Could not open '/none'\n"),
    (("-m", "lots", "a"), 64, "bhyveload: Invalid memsize 'lots'\n"),
    (("-l", "/a", "-l", "/b", "a"), 64, "bhyveload: -l can only be given once\n"),
    (("-m", "33G", "-d", "/vm/disk", "vm1"), 1, "vm_setup_memory: Cannot allocate memory\n"),
    (("-d", "/vm/disk", "x" * 230), 1, "vm_create: Invalid argument\n"),
]


@pytest.mark.parametrize(
    ("argv", "code", "text"), REFUSED, ids=[" ".join(argv)[:40] for argv, _, _ in REFUSED]
)
def test_bhyveload_refuses(host, vm, argv, code, text):
    assert host.fails("bhyveload", *argv, code=code).startswith(text)


def test_bhyveload_says_on_stdout_what_it_cannot_load(host, vm):
    assert host("bhyveload", vm).out.endswith("can't load 'kernel'\n")
    answer = host("bhyveload", "-l", "/boot/none.so", "-d", "/vm/disk", vm)
    assert (answer.code, answer.out) == (1, 'Cannot open "/boot/none.so"\n')


def test_loaders_need_vmm(lab):
    assert lab.fails("bhyveload", "a") == f"vm_create: {MISSING}\n"
    assert lab.fails("grub-bhyve", "a") == f"vm_create: {MISSING}\nError in initializing VM\n"


def grub(host, text, *argv, root="host"):
    """Run grub-bhyve with this grub.cfg in /boot/grub of the host."""
    host.path("/boot/grub/grub.cfg").write_text(text)
    return host("grub-bhyve", "-m", "/vm/device.map", "-M", "64M", "-r", root, *argv, "vm1")


def test_grub_has_no_terminal_called_stdio(host, vm):
    text = "linux /vm/none\nboot\n"
    assert "error: " in grub(host, text).out
    assert "error: " in grub(host, text, "-c", "/dev/nmdm-vm1.1A").out
    assert grub(host, text, "-c", "stdio").out == ""


def test_grub_puts_the_kernel_of_its_default_entry_into_the_vm(host, vm):
    for name in ("one", "two", "initrd"):
        host.path(f"/vm/{name}").write_text(f"content of {name}")
    text = """
        set timeout=5 default="second entry"
        insmod gzio; load_video
        # a comment
        if [ -e /vm/none -o "$grub_platform" = "pc" ]; then
            set kernel=wrong
        elif [ -f /vm/two ]; then
            if true; then set kernel=/vm/two; fi
        else
            set kernel=wrong
        fi
        menuentry 'first' --class x { linux /vm/one }
        submenu "others" {
            menuentry "second" { linux /vm/one }
        }
        menuentry "second entry" --id x {
            echo Loading "$kernel" ...
            linux ${kernel} root=/dev/vda1 'quiet  splash'
            initrd /vm/initrd /vm/one
        }
    """
    answer = grub(host, text, "-S", "-c", "/dev/nmdm1A")
    assert (answer.code, answer.out, answer.err) == (0, "Loading /vm/two ...\n", "")
    entry = loaded(host, vm)
    assert entry["append"] == "BOOT_IMAGE=/vm/two root=/dev/vda1 quiet  splash console=ttyS0"
    with open(entry["kernel"]) as kernel, open(entry["initrd"]) as initrd:
        assert (kernel.read(), initrd.read()) == ("content of two", "content of initrdcontent of one")
    host.ok("bhyvectl", f"--vm={vm}", "--destroy")
    assert not os.path.exists(entry["kernel"])


def test_grub_takes_commands_from_standard_input_without_a_file(host, vm):
    host.path("/boot/grub/grub.cfg").unlink(missing_ok=True)
    done = subprocess.run(
        host.argv("grub-bhyve", "-m", "/vm/device.map", "-M", "64", "-n", "-r", "hd0", vm),
        input="linux (host)/vm/device.map one\nboot\nlinux (host)/never\n", text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0
    assert (loaded(host, vm)["append"], loaded(host, vm)["memory"]) == (
        "BOOT_IMAGE=(host)/vm/device.map one",
        64 << 20,
    )


def test_grub_says_what_it_cannot_find_and_loads_nothing(host, vm):
    answer = grub(host, "linux /none\ninitrd /none\nlinux (hd5)/x\nlinux (cd0)/x\n")
    assert answer.out.splitlines() == [
        "error: file `/none' not found.",
        "error: you need to load the kernel first.",
        "error: disk `hd5' not found.",
        "error: disk `cd0' not found.",
    ]
    assert loaded(host, vm) is None
    assert host("bhyve", "-m", "64M", vm).code == 3


def test_grub_hands_over_to_a_boot_sector(host, vm):
    assert grub(host, "set root=(hd0)\nchainloader +1\nboot\n").code == 0
    assert loaded(host, vm)["disk"] == str(host.path("/vm/disk"))


GRUB_REFUSED = [
    ((), 1, "Required VM name parameter not supplied\n"),
    (("-M", "much", "a"), 1, "Invalid guest memory size `much'.\n"),
    (("--nothing", "a"), 64, "grub-bhyve: unrecognized option '--nothing'\n"),
    (("-x", "a"), 64, "grub-bhyve: invalid option -- 'x'\n"),
    (("a", "-m"), 64, "grub-bhyve: option requires an argument -- 'm'\n"),
    (("--memory=0", "vm1"), 1, "vm_setup_memory: Invalid argument\nError in initializing VM\n"),
]


@pytest.mark.parametrize(
    ("argv", "code", "text"), GRUB_REFUSED, ids=[" ".join(a) for a, _, _ in GRUB_REFUSED]
)
def test_grub_bhyve_refuses(host, vm, argv, code, text):
    assert host.fails("grub-bhyve", *argv, code=code).startswith(text)


class Nowhere(grub_disk.Places):
    """Places with a few files on the host and nothing else."""

    def __init__(self) -> None:
        super().__init__({}, "host")

    def read(self, path: str) -> bytes:
        return f"file {path}".encode()

    def exists(self, path: str, kind: str = "e") -> bool:
        return "x" in path


@given(st.text("$ifthen[]{}'\"\\\n; =x-e-1set menuentryfi", max_size=80))
def test_any_text_is_a_script(text):
    grub_script.Script(Nowhere(), "host", insert_console=True).run(text)


@given(st.lists(st.sampled_from(
    ["if true; then", "else", "fi", "menuentry x {", "}", "linux /x", "if [ -e /x ]", "then", "boot", "submenu y {"],
), max_size=12))  # fmt: skip
def test_any_order_of_words_is_a_script(lines):
    grub_script.Script(Nowhere(), "host", insert_console=False).run("\n".join(lines))


def test_a_kernel_wants_its_initramfs_away_from_the_end_of_memory():
    header = bytearray(0x300)
    header[0x202:0x208] = b"HdrS\x0f\x02"
    header[0x236] = 0x7F
    placed = grub_kernel.placed(bytes(header), 512 << 20)
    assert int.from_bytes(placed[0x22C:0x230], "little") == 508 << 20
    assert placed[0x236] == 0x7D
    assert grub_kernel.placed(b"\x7fELF" + bytes(1000), 1 << 30) == b"\x7fELF" + bytes(1000)
