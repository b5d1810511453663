"""A Linux guest with OpenZFS 2.3, to measure the lab's zfs(8) against: Debian's kernel, module and programs.

``python -m tests.openzfs.build`` makes it (about three minutes), or `guest_files` when a test asks for it first.
Everything comes from the archive that this machine's own sources.list names, with the components contrib and the
suite's backports added in a private apt state; nothing is installed and no root is needed, only a compiler and make.
What was made is kept in a cache folder, so that a second run needs neither the network nor the three minutes.

The module is built here because the archive has its source only (CDDL and GPL are not to be linked by
distributors): the result stays in the cache of the one who built it.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("BHYPE_OPENZFS") or HERE.parents[1] / ".state" / "openzfs")
# The series that the tables of expected answers are about.
SERIES = "2.3."
KERNEL, HEADERS = "linux-image-cloud-amd64", "linux-headers-cloud-amd64"
SOURCE = "zfs-dkms"
# The tools, the libraries that they need and the shell of the guest.
PROGRAMS = {
    "zfsutils-linux": ("zfs", "zpool", "zdb", "zstream", "zvol_id"),
    "busybox-static": ("busybox",),
}
LIBRARIES = ("libzfs6linux", "libzpool6linux", "libnvpair3linux", "libuutil3linux")
SYSTEM = (
    *("libc6", "libgcc-s1", "libssl3", "libblkid1", "libuuid1", "libudev1", "zlib1g", "libtirpc3"),
    *("libgssapi-krb5-2", "libkrb5-3", "libk5crypto3", "libkrb5support0", "libcom-err2", "libkeyutils1"),
)
MODULES = ("virtio_pci", "virtio_console")
ZFS_MODULES = ("spl", "zfs")


@dataclass(frozen=True)
class Files:
    """What QEMU starts: kernel and initramfs, and the version of OpenZFS in them."""

    kernel: Path
    initrd: Path
    version: str


def guest_files() -> Files:
    """The guest's files, built when they are not there or when the recipe has changed. Raises RuntimeError."""
    CACHE.mkdir(parents=True, exist_ok=True)
    sources = (Path(__file__), HERE / "init.sh")
    recipe = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = next(CACHE.glob(f"guest-{recipe}-*"), None)
        if not made:
            with tempfile.TemporaryDirectory(dir=CACHE) as work:
                built, name = _build(Path(work))
                made = CACHE / f"guest-{recipe}-{name}"
                for old in CACHE.glob("guest-*"):
                    shutil.rmtree(old)
                built.rename(made)
    version = made.name.removeprefix(f"guest-{recipe}-").partition("-")[0]
    return Files(made / "vmlinuz", made / "initrd.gz", version)


def _build(work: Path) -> tuple[Path, str]:
    """A folder with the guest's files, and its name: the versions of OpenZFS and of the kernel."""
    apt = Apt(work)
    kernel = apt.dependency(KERNEL, r"linux-image-\S+")
    release = kernel.removeprefix("linux-image-")
    headers = apt.dependency(HEADERS, r"linux-headers-\d\S+")
    version = apt.version(SOURCE)
    if not version.startswith(SERIES):
        raise RuntimeError(f"the archive has OpenZFS {version}, the tests are about {SERIES}x")
    common = apt.dependency(headers, r"linux-headers-\S+-common\S*")
    kbuild = apt.dependency(headers, r"linux-kbuild-\S+")
    root = work / "unpacked"
    same = [f"{name}={version}" for name in (SOURCE, "zfsutils-linux", *LIBRARIES)]
    apt.unpack([kernel, headers, common, kbuild, *same, *SYSTEM, "busybox-static", "libelf1"], root)
    name = f"{version.partition('-')[0]}-{release}"
    built = CACHE / f"modules-{name}"
    if not built.exists():
        for old in CACHE.glob("modules-*"):
            shutil.rmtree(old)
        _build_modules(root, release, common.removeprefix("linux-headers-")).rename(built)
    modules = _modules(root, built)
    made = work / "guest"
    made.mkdir()
    (made / "initrd.gz").write_bytes(gzip.compress(_initramfs(root, modules), 6, mtime=0))
    shutil.copyfile(root / "boot" / f"vmlinuz-{release}", made / "vmlinuz")
    return made, name


class Apt:
    """The machine's archive with contrib and backports, in an apt state of its own below ``work``."""

    def __init__(self, work: Path) -> None:
        self.folder = work / "apt"
        for name in ("lists/partial", "cache/archives/partial", "etc"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "etc/sources.list").write_text(_sources())
        settings = {
            "Dir::Etc::sourcelist": self.folder / "etc/sources.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::State::lists": self.folder / "lists",
            "Dir::Cache": self.folder / "cache",
            "APT::Sandbox::User": "root",
            "APT::Default-Release": _codename(),
        }
        self.options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
        self.call("apt-get", "update", "-qq")

    def call(self, program: str, *words: str, cwd: Path | None = None) -> str:
        return _run(program, *self.options, *words, cwd=cwd)

    def dependency(self, package: str, pattern: str) -> str:
        """The name of the package that ``package`` depends on and that matches."""
        found = re.search(rf"Depends: ({pattern})", self.call("apt-cache", "depends", package))
        if not found:
            raise RuntimeError(f"{package} depends on nothing like {pattern}")
        return found[1]

    def version(self, package: str) -> str:
        """The newest version of the package, of backports as well."""
        listed = self.call("apt-cache", "madison", package).splitlines()
        if not listed:
            raise RuntimeError(f"the archive has no {package}")
        return listed[0].split("|")[1].strip()

    def unpack(self, packages: list[str], target: Path) -> None:
        """Download packages and unpack them without installing anything."""
        folder = self.folder / "packages"
        folder.mkdir()
        self.call("apt-get", "download", "-qq", *packages, cwd=folder)
        target.mkdir()
        for path in folder.iterdir():
            _run("dpkg-deb", "-x", path, target)


def _codename() -> str:
    release = Path("/etc/os-release").read_text()
    found = re.search(r"^VERSION_CODENAME=(\w+)", release, re.MULTILINE)
    if not found:
        raise RuntimeError("this is no Debian: /etc/os-release names no VERSION_CODENAME")
    return found[1]


def _sources() -> str:
    """A sources.list with the archive of this machine's own sources, where ever that is."""
    files = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*.*")]
    text = "\n".join(
        path.read_text() for path in files if path.suffix in (".list", ".sources") and path.exists()
    )
    keys = re.search(r"^Signed-By: *(/\S+)", text, re.MULTILINE)
    found = re.search(r"^URIs: *(\S+)", text, re.MULTILINE) or re.search(
        r"^deb (?:\[[^]]*\] )?(\S+) ", text, re.MULTILINE
    )
    if not found:
        raise RuntimeError("no archive is named in /etc/apt")
    head = f"deb [signed-by={keys[1]}] {found[1]}" if keys else f"deb {found[1]}"
    name = _codename()
    return f"{head} {name} main contrib\n{head} {name}-backports main contrib\n"


def _build_modules(root: Path, release: str, common: str) -> Path:
    """A folder with OpenZFS's modules for the kernel ``release``: two minutes' work."""
    headers, shared = (root / "usr/src" / f"linux-headers-{name}" for name in (release, common))
    # Debian's headers find each other at absolute paths.
    for path in [*headers.glob("Makefile"), *headers.glob(".kernelvariables")]:
        path.write_text(path.read_text().replace("/usr/src/", f"{root}/usr/src/"))
    source = next((root / "usr/src").glob("zfs-*"))
    libraries = {"LD_LIBRARY_PATH": f"{root}/usr/lib/x86_64-linux-gnu:{root}/lib/x86_64-linux-gnu"}
    _run(
        "./configure",
        "--with-config=kernel",
        f"--with-linux={shared}",
        f"--with-linux-obj={headers}",
        cwd=source,
    )
    _run("make", f"-j{os.cpu_count() or 1}", cwd=source, more=libraries)
    target = root.parent / "modules"
    target.mkdir()
    for name in ZFS_MODULES:
        _run("strip", "-g", "-o", target / f"{name}.ko", source / "module" / f"{name}.ko")
    return target


def _modules(root: Path, built: Path) -> list[tuple[str, bytes]]:
    """The kernel's modules that the guest needs, then OpenZFS's, in the order of loading."""
    loaded: dict[str, bytes] = {}
    kernel = {_name(path): path for path in (root / "lib/modules").rglob("*.ko")}

    def load(name: str) -> None:
        if name in loaded or name not in kernel:  # not there: built into the kernel
            return
        content = kernel[name].read_bytes()
        match = re.search(rb"\0depends=([^\0]*)\0", content)
        for needed in match[1].decode().replace("-", "_").split(",") if match else ():
            load(needed)
        loaded[name] = content

    for module in MODULES:
        load(module)
    for name in ZFS_MODULES:
        loaded[name] = (built / f"{name}.ko").read_bytes()
    return list(loaded.items())


def _name(path: Path) -> str:
    return path.stem.replace("-", "_")


def _initramfs(root: Path, modules: list[tuple[str, bytes]]) -> bytes:
    """init, the programs with their libraries, and the modules ("newc" cpio)."""
    entries: dict[str, tuple[int, bytes]] = dict.fromkeys(
        ("bin", "dev", "proc", "sys", "etc", "tmp", "run", "modules", "lib", "lib64"), (16877, b"")
    )
    for names in PROGRAMS.values():
        for name in names:
            found = next(path for path in root.rglob(name) if path.is_file() and os.access(path, os.X_OK))
            entries[f"bin/{name}"] = (0o100755, found.read_bytes())
    for path in root.rglob("*.so*"):
        if path.is_file() and "linux-gnu" in path.parts[-2]:
            entries[f"lib/{path.name}"] = (0o100755, path.read_bytes())
    loader = next(path for path in root.rglob("ld-linux-x86-64.so.2") if path.is_file())
    entries["lib64/ld-linux-x86-64.so.2"] = (0o100755, loader.read_bytes())
    entries["modules/order"] = (0o100644, "".join(f"{name}\n" for name, _ in modules).encode())
    for name, content in modules:
        entries[f"modules/{name}.ko"] = (0o100644, content)
    entries["init"] = (0o100755, (HERE / "init.sh").read_bytes())
    entries["etc/passwd"] = (0o100644, b"root:x:0:0:root:/:/bin/sh\n")
    entries["etc/group"] = (0o100644, b"root:x:0:\n")
    out = bytearray()
    for number, (name, (mode, content)) in enumerate([*entries.items(), ("TRAILER!!!", (0, b""))], 1):
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        out += b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        out += bytes(-len(out) % 4) + content
        out += bytes(-len(out) % 4)
    return bytes(out)


def _run(*argv: object, cwd: Path | None = None, more: dict[str, str] | None = None) -> str:
    """Run a step; its failure ends the build with the last lines that it has said."""
    done = subprocess.run(
        [str(word) for word in argv],
        cwd=cwd,
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
        env=os.environ | {"LC_ALL": "C"} | (more or {}),
    )
    if done.returncode:
        raise RuntimeError(f"{argv[0]} failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


if __name__ == "__main__":
    print(guest_files())  # noqa: T201
