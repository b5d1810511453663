"""A small Linux guest for tests: Debian's kernel and busybox, on a disk that boots with UEFI and with grub-bhyve.

``python -m tests.guest.build`` makes it, or `image` when a test asks for it first. Packages come from the
configured Debian archive (``apt-get download``, no root needed) into a cache folder and are kept: a second build,
and every later run, needs no network. What the guest does is told in ``init.sh``.

The disk (raw): a partition table with one FAT partition, which holds ``EFI/BOOT/BOOTX64.EFI`` (GRUB),
``grub/grub.cfg``, ``vmlinuz`` and ``initrd.gz``.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import io
import os
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Not in the state of a test process: that goes with it, and the packages are worth keeping.
CACHE = Path(os.environ.get("BHYPE_GUEST") or HERE.parents[1] / ".state" / "guest")
META, BUSYBOX = "linux-image-amd64", "busybox-static"
MODULES = (
    *("virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "virtio_rng", "virtio_scsi"),
    *("virtio_input", "9pnet_virtio", "9p", "nvme", "ahci", "sd_mod", "sr_mod", "e1000"),
    *("xhci_pci", "usbhid", "hid_generic", "snd_hda_codec_generic", "snd_hda_intel"),
    *("button", "qemu_fw_cfg", "evdev"),
)
CMDLINE = " ".join(
    (
        *("console=ttyS0", "8250.nr_uarts=8", "quiet", "random.trust_cpu=on", "mitigations=off", "nokaslr"),
        # What an emulated clock is bad at, and what nobody has.
        *("tsc=unstable", "no_timer_check", "i8042.nopnp"),
    )
)
SIZE = 40 << 20
START = 1 << 20  # of the partition
_SIGNATURE = b"~Module signature appended~\n"


def image() -> Path:
    """The guest's disk, built when it is not there yet or when what it is built from has changed."""
    CACHE.mkdir(parents=True, exist_ok=True)
    recipe = hashlib.sha256((HERE / "init.sh").read_bytes() + Path(__file__).read_bytes()).hexdigest()
    target = CACHE / f"guest-{recipe[:16]}.img"
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=CACHE) as work:
                _build(Path(work)).rename(target)
            for old in CACHE.glob("guest-*.img"):
                if old != target:
                    old.unlink()
    return target


def _build(work: Path) -> Path:
    kernel, busybox = packages(CACHE / "packages")
    (work / "grub").mkdir()
    (work / "grub/grub.cfg").write_text(f"linux /vmlinuz {CMDLINE}\ninitrd /initrd.gz\nboot\n")
    vmlinuz, modules = unpack(kernel, MODULES)
    (work / "vmlinuz").write_bytes(vmlinuz)
    (work / "initrd.gz").write_bytes(initramfs(modules, busybox, (HERE / "init.sh").read_bytes()))
    (work / "early.cfg").write_text("set prefix=($root)/grub\nconfigfile ($root)/grub/grub.cfg\n")
    _run(
        "grub-mkimage", "-d", "/usr/lib/grub/x86_64-efi", "-O", "x86_64-efi", "-c", work / "early.cfg",
        "-p", "/grub", "-o", work / "BOOTX64.EFI", "fat", "part_msdos", "normal", "configfile", "linux", "boot",
    )  # fmt: skip
    disk = work / "disk"
    with disk.open("wb") as file:
        file.truncate(SIZE)
        file.write(_partition_table())
    where = f"{disk}@@{START}"
    _run("mformat", "-i", where, "-T", (SIZE - START) // 512, "-h", 16, "-s", 63, "-H", START // 512, "::")
    _run("mmd", "-i", where, "::EFI", "::EFI/BOOT", "::grub")
    _run("mcopy", "-i", where, work / "BOOTX64.EFI", "::EFI/BOOT/BOOTX64.EFI")
    _run("mcopy", "-i", where, work / "grub/grub.cfg", "::grub/grub.cfg")
    _run("mcopy", "-i", where, work / "vmlinuz", work / "initrd.gz", "::")
    return disk


def packages(folder: Path, meta: str = META) -> tuple[Path, Path]:
    """The kernel's and busybox' package files, downloaded once."""
    folder.mkdir(exist_ok=True)
    patterns = ("linux-image-*.deb", "busybox-static_*.deb")
    found = [next(folder.glob(pattern), None) for pattern in patterns]
    if None in found:
        try:
            _download(folder, meta)
        except (subprocess.CalledProcessError, LookupError):
            # The lists are missing, or older than the archive.
            _run("apt-get", "update", "-qq")
            _download(folder, meta)
        found = [next(folder.glob(pattern)) for pattern in patterns]
    return found[0], found[1]


def _download(folder: Path, meta: str = META) -> None:
    """Raises CalledProcessError, or LookupError when the archive's list has no kernel."""
    depends = subprocess.run(
        ["apt-cache", "depends", meta], check=True, capture_output=True, text=True
    ).stdout
    name = re.search(r"Depends: (linux-image-\S+)", depends)
    if not name:
        raise LookupError(meta)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(["apt-get", "download", "-qq", name[1], BUSYBOX], cwd=folder, check=True, **quiet)


def _data(package: Path) -> io.BytesIO:
    return io.BytesIO(
        subprocess.run(["dpkg-deb", "--fsys-tarfile", package], check=True, capture_output=True).stdout
    )


def unpack(kernel: Path, modules: Sequence[str]) -> tuple[bytes, list[tuple[str, bytes]]]:
    """The kernel, and the modules with what they need in the order of loading: ``(name, content)``."""
    with tarfile.open(fileobj=_data(kernel)) as tar:
        paths = {_name(member.name): member for member in tar if member.name.endswith(".ko")}
        vmlinuz = next(member for member in tar if member.name.startswith("./boot/vmlinuz"))
        image = tar.extractfile(vmlinuz).read()
        loaded: dict[str, bytes] = {}

        def load(name: str) -> None:
            if name in loaded or name not in paths:  # not there: built into the kernel
                return
            content = tar.extractfile(paths[name]).read()
            for needed in _depends(content):
                load(needed)
            loaded[name] = content

        for module in modules:
            load(module)
    return image, [(name, _unsigned(content)) for name, content in loaded.items()]


def _name(path: str) -> str:
    return Path(path).stem.replace("-", "_")


def _depends(module: bytes) -> list[str]:
    match = re.search(rb"\0depends=([^\0]*)\0", module)
    return [name.replace("-", "_") for name in match[1].decode().split(",") if name] if match else []


def _unsigned(module: bytes) -> bytes:
    """Without its signature, whose check takes an emulated CPU long."""
    if not module.endswith(_SIGNATURE):
        return module
    end = len(module) - len(_SIGNATURE)
    return module[: end - 12 - int.from_bytes(module[end - 4 : end], "big")]


def initramfs(modules: list[tuple[str, bytes]], busybox: Path, init: bytes) -> bytes:
    """init, the program of the package busybox, the modules and the folders for what is mounted."""
    with tarfile.open(fileobj=_data(busybox)) as tar:
        shell = tar.extractfile("./bin/busybox")
        assert shell
        return gzip.compress(_cpio(modules, shell.read(), init), 1, mtime=0)


def _cpio(modules: list[tuple[str, bytes]], busybox: bytes, init: bytes) -> bytes:
    """In the format "newc"."""
    order = "".join(f"{name}.ko\n" for name, _ in modules)
    entries: list[tuple[str, int, bytes]] = [
        *((name, 0o40755, b"") for name in ("bin", "dev", "proc", "sys", "modules", "root")),
        ("bin/busybox", 0o100755, busybox),
        ("init", 0o100755, init),
        ("modules/order", 0o100644, order.encode()),
        *((f"modules/{name}.ko", 0o100644, content) for name, content in modules),
        ("TRAILER!!!", 0, b""),
    ]
    out = bytearray()
    for number, (name, mode, content) in enumerate(entries, 1):
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        out += b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        out += bytes(-len(out) % 4) + content
        out += bytes(-len(out) % 4)
    return bytes(out)


def _partition_table() -> bytes:
    """One partition of type 0xEF: a place for UEFI to boot from, and GRUB's msdos1."""
    entry = bytes([0x80, 0, 2, 0, 0xEF, 0xFE, 0xFF, 0xFF])
    entry += (START // 512).to_bytes(4, "little") + ((SIZE - START) // 512).to_bytes(4, "little")
    return bytes(446) + entry + bytes(48) + b"\x55\xaa"


def _run(*argv: object) -> None:
    done = subprocess.run([str(word) for word in argv], check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{argv[0]}: {done.stderr}")


if __name__ == "__main__":
    print(image())  # noqa: T201
