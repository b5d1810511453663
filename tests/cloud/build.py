"""A real cloud image for tests, made of Debian's packages: systemd, cloud-init, sshd, a root file system on ext4.

``python -m tests.cloud.build`` makes it, or `image` when a test asks for it first; it takes some minutes and is kept
(BHYPE_CLOUD, else .state/cloud). Packages come from the archives that apt(8) is configured for. Nothing is mounted
where others see it and no kernel module is loaded: the root file system is made by ``mke2fs -d``, the ESP by mtools,
the partition table by sfdisk(8).

The disk (raw): GPT; an ESP with GRUB as ``EFI/BOOT/BOOTX64.EFI``, the kernel and a small initramfs that loads a few
modules and switches to the root; then the root, last, so that growpart can grow it. As in the images of vendors
there is no user, no host key, no machine-id and no address in it: cloud-init makes them. What has nothing to do with
that and would be slow on an emulated CPU is masked.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.guest import build as guest

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("BHYPE_CLOUD") or HERE.parents[1] / ".state" / "cloud")
KERNEL = "linux-image-cloud-amd64"
PACKAGES = (
    *("systemd-sysv", "udev", "dbus", "cloud-init", "cloud-guest-utils", "openssh-server", "sudo"),
    *("iproute2", "netbase", "gdisk", "ca-certificates"),
)
MODULES = (
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtio_rng",
    "nvme",
    "ext4",
    "isofs",
    "nls_utf8",
    "nls_ascii",
    "vfat",
)
CMDLINE = " ".join(
    (
        *(
            "root=LABEL=root",
            "console=ttyS0",
            "quiet",
            "loglevel=3",
            "random.trust_cpu=on",
            "mitigations=off",
            "nokaslr",
        ),
        *(
            "tsc=unstable",
            "no_timer_check",
            "i8042.nopnp",
            "systemd.show_status=0",
            "net.ifnames=1",
            "audit=0",
        ),
    )
)
# What a guest that lives for a minute does not need.
MASKED = (
    *(
        "apt-daily.timer",
        "apt-daily-upgrade.timer",
        "dpkg-db-backup.timer",
        "e2scrub_all.timer",
        "e2scrub_reap.service",
    ),
    *("fstrim.timer", "systemd-timesyncd.service", "systemd-pstore.service", "systemd-update-utmp.service"),
    *(
        "systemd-hwdb-update.service",
        "ldconfig.service",
        "systemd-journal-catalog-update.service",
        "getty@tty1.service",
    ),
    *(
        "systemd-journal-flush.service",
        "modprobe@drm.service",
        "modprobe@efi_pstore.service",
        "modprobe@fuse.service",
    ),
    *(
        "systemd-binfmt.service",
        "proc-sys-fs-binfmt_misc.automount",
        "sys-kernel-debug.mount",
        "sys-kernel-tracing.mount",
    ),
    *(
        "dev-hugepages.mount",
        "dev-mqueue.mount",
        "systemd-networkd-wait-online.service",
        "keyboard-setup.service",
    ),
    *("man-db.timer", "logrotate.timer", "systemd-rfkill.service", "systemd-machine-id-commit.service"),
)
ROOT_SIZE = 640 << 20
ESP_START, ESP_SIZE = 1 << 20, 40 << 20
FILES = {
    "etc/machine-id": "",
    "etc/fstab": "LABEL=root / ext4 noatime 0 0\n",
    "etc/cloud/cloud.cfg.d/90_image.cfg": "datasource_list: [NoCloud, None]\n",
    "etc/systemd/journald.conf.d/image.conf": "[Journal]\nStorage=volatile\n",
    # One key is quickly made, also by an emulated CPU.
    "etc/cloud/cloud.cfg.d/91_keys.cfg": "ssh_genkeytypes: [ed25519]\nlocale: C.UTF-8\n",
}
INIT = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
while read -r module; do insmod "/modules/$module"; done < /modules/order
for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    root=$(findfs LABEL=root 2>/dev/null) && break
    usleep 100000
done
mount -t ext4 -o rw,noatime "$root" /root
umount /proc /sys
mount --move /dev /root/dev
exec switch_root /root /sbin/init
"""


def image() -> Path:
    """The disk, built when it is not there yet or when what it is built from has changed."""
    CACHE.mkdir(parents=True, exist_ok=True)
    target = CACHE / f"cloud-{hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]}.raw"
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=CACHE) as work:
                _build(Path(work)).rename(target)
            for old in CACHE.glob("cloud-*.raw"):
                if old != target:
                    old.unlink()
                    shutil.rmtree(old.with_suffix(".web"), ignore_errors=True)
    return target


def _build(work: Path) -> Path:
    root, archives = work / "root", CACHE / "packages"
    kernel, busybox = guest.packages(archives, KERNEL)
    _bootstrap(root, archives)
    vmlinuz, modules = guest.unpack(kernel, MODULES)
    (work / "vmlinuz").write_bytes(vmlinuz)
    (work / "initrd.gz").write_bytes(guest.initramfs(modules, busybox, INIT.encode()))
    _settle(root)
    system = work / "root.ext4"
    options = ("-q", "-t", "ext4", "-L", "root", "-O", "^has_journal", "-m", "0", "-d", root)
    _run("mke2fs", *options, system, f"{ROOT_SIZE >> 10}k")
    shutil.rmtree(root)
    return _disk(work, system)


def _bootstrap(root: Path, archives: Path) -> None:
    """Debian, as small as it boots. Files that nobody reads are left out as it is unpacked."""
    dropped = ("doc", "man", "locale", "info", "bash-completion", "zoneinfo/right", "zoneinfo/posix")
    lists = ("sources.list", "sources.list.d/debian.sources")
    there = [f"/etc/apt/{name}" for name in lists if Path("/etc/apt", name).exists()]
    cache = '"$1"/var/cache/apt/archives'
    _run(
        # It binds /dev, /sys and /proc into the tree. In a mount namespace of its own these go with it, also when it
        # is killed, and who removes the tree never removes through them.
        "unshare", "--mount", "--propagation", "private",
        "mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", f"--include={','.join(PACKAGES)}",
        *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in dropped),
        "--skip=cleanup/apt/cache", "--skip=download/empty",
        f"--setup-hook=mkdir -p {cache}; cp -n {archives}/*.deb {cache}/ || true",
        f"--customize-hook=cp -n {cache}/*.deb {archives}/; rm -f {cache}/*.deb",
        _suite(), root, *there,
    )  # fmt: skip


def _suite() -> str:
    lines = Path("/etc/os-release").read_text().splitlines()
    return next(line.partition("=")[2].strip('"') for line in lines if line.startswith("VERSION_CODENAME="))


def _settle(root: Path) -> None:
    """What an image for clouds has: no identity, the datasource that it is made for, and little to wait for."""
    for name in MASKED:
        link = root / "etc/systemd/system" / name
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    for path in (root / "etc/ssh").glob("ssh_host_*"):
        path.unlink()
    for name in ("etc/hostname", "etc/resolv.conf", "var/lib/dbus/machine-id"):
        (root / name).unlink(missing_ok=True)
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for unit in ("systemd-networkd.service", "ssh.service"):
        wants = root / "etc/systemd/system/multi-user.target.wants" / unit
        wants.parent.mkdir(parents=True, exist_ok=True)
        wants.unlink(missing_ok=True)
        wants.symlink_to(f"/lib/systemd/system/{unit}")


def _disk(work: Path, system: Path) -> Path:
    (work / "grub.cfg").write_text(f"linux /vmlinuz {CMDLINE}\ninitrd /initrd.gz\nboot\n")
    (work / "early.cfg").write_text(
        "search --no-floppy --set=root --file /grub.cfg\nconfigfile ($root)/grub.cfg\n"
    )
    _run(
        "grub-mkimage", "-d", "/usr/lib/grub/x86_64-efi", "-O", "x86_64-efi", "-c", work / "early.cfg", "-p", "/",
        "-o", work / "BOOTX64.EFI", "fat", "part_gpt", "normal", "configfile", "linux", "boot", "search",
    )  # fmt: skip
    disk, start = work / "disk", ESP_START + ESP_SIZE
    with disk.open("wb") as file:
        file.truncate(start + ROOT_SIZE + (1 << 20))
    parts = (
        f"start={ESP_START // 512}, size={ESP_SIZE // 512}, type=U\n"
        f"start={start // 512}, size={ROOT_SIZE // 512}, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709\n"
    )
    _run("sfdisk", "-q", disk, stdin=f"label: gpt\n{parts}")
    where = f"{disk}@@{ESP_START}"
    _run(
        "mformat", "-i", where, "-F", "-T", ESP_SIZE // 512, "-h", 16, "-s", 63, "-H", ESP_START // 512, "::"
    )
    _run("mmd", "-i", where, "::EFI", "::EFI/BOOT")
    _run("mcopy", "-i", where, work / "BOOTX64.EFI", "::EFI/BOOT/BOOTX64.EFI")
    _run("mcopy", "-i", where, work / "grub.cfg", work / "vmlinuz", work / "initrd.gz", "::")
    _run(
        "dd",
        f"if={system}",
        f"of={disk}",
        "bs=1M",
        f"seek={start >> 20}",
        "conv=notrunc,sparse",
        "status=none",
    )
    return disk


def _run(*argv: object, stdin: str | None = None) -> None:
    words = [str(word) for word in argv]
    done = subprocess.run(words, check=False, capture_output=True, text=True, input=stdin)
    if done.returncode:
        raise RuntimeError(f"{words[0]}: {done.stderr[-4000:]}")


if __name__ == "__main__":
    print(image())  # noqa: T201
