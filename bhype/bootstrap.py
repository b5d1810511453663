"""From a fresh clone to a running panel: what ``make run``, ``make test`` and the other targets call.

Standard library only; runs with the system's Python, before anything is installed. Every step looks first whether
there is something to do, so a second run takes seconds.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
ON_FREEBSD = sys.platform.startswith("freebsd")
VENV = BASE_DIR / ".venv"
STATE = Path(
    os.environ.get("BHYPE_STATE") or ("/var/db/bhype" if ON_FREEBSD else BASE_DIR / ".state")
).resolve()
USER = os.environ.get("BHYPE_USER", "bhype")
IS_ROOT = os.geteuid() == 0

HELP = """\
make run       set everything up and start the panel in the foreground (Ctrl-C stops it, VMs go on)
make demo      the same with a populated lab: a dozen VMs, tags, owners, tasks with a history
make stop-vms  end the guests of the lab
make test      every check and test, with its own set-up (PostgreSQL, a browser, QEMU guests)
make test-long what takes minutes: the lab beside real OpenZFS, a real cloud image, kills and packets that wait
make explore   the tests with new random examples and more life cycles of VMs
make bench     measure speed and size, as ratios and counts
make check     formatting, lint, types, import contracts and migrations only
make setup     only the set-up

BHYPE_PORT (8080), BHYPE_BIND (127.0.0.1), BHYPE_STATE (.state), DATABASE_URL (SQLite in BHYPE_STATE), BHYPE_HOSTS\
"""

# package -> what does not work without it
DEBIAN_RUN = {
    "python3-venv": "nothing: the panel runs in a virtual environment",
    "qemu-system-x86": "virtual machines: the lab's bhyve runs guests with it",
    "ovmf": "virtual machines: their UEFI firmware",
    "qemu-utils": "disk images",
    "zstd": "disk images that are packed with zstd",
    "gpgv": "checking who has signed an image",
    "swtpm": "TPMs of virtual machines",
    "iproute2": "networks of the lab: without it no frame leaves a guest",
    "nftables": "rules of the firewall that the lab's frames meet",
    "dnsmasq-base": "DHCP and names on switches",
    "wireguard-go": "meshes of hosts: without it the lab's tunnels carry nothing",
    "libpam-modules": "sign-in with system passwords",
    "ipxe": "the iPXE boot medium",
    "memtest86+": "the memtest86+ boot medium",
    "debian-installer-12-netboot-amd64": "the Debian installer boot medium",
    "grub-efi-amd64-bin": "making boot media",
    "grub-common": "making boot media",
    "xorriso": "making boot media",
    "mtools": "making boot media",
}
DEBIAN_TEST = {
    "postgresql": "the tests on PostgreSQL",
    "chromium": "the browser tests",
    "busybox-static": "the tests of networks: clients of DHCP and of names",
    "isc-dhcp-client": "the tests of networks: a client of DHCP",
    "bmake": "the test that the Makefile works with bmake",
    "make": "make",
    "git": "the test of a fresh clone",
    "openssh-client": "the test of SSH keys",
    # cloud-init itself is only unpacked: an installed one would run at this machine's next start.
    **dict.fromkeys(
        (
            "python3-configobj",
            "python3-jinja2",
            "python3-jsonpatch",
            "python3-jsonschema",
            "python3-requests",
            "python3-yaml",
        ),
        "the check of seeds by cloud-init",
    ),
    "mmdebstrap": "the cloud image of make test-long",
    "fdisk": "the cloud image of make test-long",
    "gcc": "the OpenZFS of make test-long",
    "libc6-dev": "the OpenZFS of make test-long",
    "zfs-fuse": "the quick test with another ZFS of make test-long",
}
FREEBSD_RUN = {
    "edk2-bhyve": "virtual machines with UEFI",
    "grub2-bhyve": "virtual machines that GRUB loads",
    "swtpm": "TPMs of virtual machines",
    "qemu-tools": "disk images",
    "dnsmasq": "DHCP and names on switches",
    "smartmontools": "health of disks",
    "gnupg": "checking who has signed an image",
}
# Modules that need a compiler: their packages are called pyXY-NAME after Python's version.
FREEBSD_PYTHON = {
    "sqlite3": "the embedded database",
    "psycopg": "PostgreSQL",
    "numpy": "fast console input",
    "cryptography": "websockify, keys of WireGuard",
    "pydantic2": "the REST API",
    "uvloop": "quick consoles",
    "pyyaml": "cloud-init",
}


def say(text: str) -> None:
    print(f"bhype: {text}", flush=True)


def call(*argv: str | Path, **options: object) -> None:
    """Run a step; its failure ends the set-up with the command named."""
    words = [str(word) for word in argv]
    result = subprocess.run(words, check=False, **options)  # type: ignore[call-overload]
    if result.returncode:
        sys.exit(f"bhype: failed with status {result.returncode}: {' '.join(words)}")


def install_packages(wanted: dict[str, str]) -> None:
    """Install missing system packages when root, else name them and what will not work without them."""
    if ON_FREEBSD:
        missing = {
            p: why
            for p, why in wanted.items()
            if subprocess.run(["pkg", "info", "-e", p], check=False).returncode
        }
        install = ["pkg", "install", "-y"]
    elif shutil.which("dpkg-query"):
        missing = {p: why for p, why in wanted.items() if not _debian_has(p)}
        # zfs-fuse would take the place of zfsutils-linux, and with it this machine's pools.
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "--no-remove"]
    else:
        say("neither Debian nor FreeBSD: install by hand what is missing of " + ", ".join(wanted))
        return
    if not missing:
        return
    if not IS_ROOT:
        for package, why in missing.items():
            say(f"not installed: {package}; without it there is no {why}")
        return
    say("installing " + " ".join(missing))
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    quiet = subprocess.DEVNULL
    if not ON_FREEBSD:
        subprocess.run(["apt-get", "update", "-qq"], check=False, env=environment, stdout=quiet)
    if subprocess.run([*install, *missing], check=False, env=environment, stdout=quiet).returncode:
        # One that is not to be had must not keep the others away.
        for package, why in missing.items():
            if subprocess.run([*install, package], check=False, env=environment, stdout=quiet).returncode:
                say(f"could not install {package}; without it there is no {why}")


def freebsd_packages(interpreter: str) -> dict[str, str]:
    """What is installed on FreeBSD for a panel that this Python runs."""
    probe = [interpreter, "-c", "import sys; print('py%d%d' % sys.version_info[:2])"]
    flavor = subprocess.run(probe, capture_output=True, text=True, check=True).stdout.strip()
    return FREEBSD_RUN | {f"{flavor}-{name}": why for name, why in FREEBSD_PYTHON.items()}


def _debian_has(package: str) -> bool:
    query = ["dpkg-query", "-W", "-f", "${Status}", package]
    return "install ok installed" in subprocess.run(query, capture_output=True, text=True, check=False).stdout


def python() -> str:
    """A Python 3.11 or later; for root one that the panel's unprivileged user can run, too."""
    names = [sys.executable, "/usr/bin/python3", "/usr/local/bin/python3.11", "/usr/local/bin/python3"]
    for name in names:
        path = Path(name).resolve()
        if not path.exists() or (IS_ROOT and any(not p.stat().st_mode & stat.S_IXOTH for p in path.parents)):
            continue
        probe = [str(path), "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
        if subprocess.run(probe, check=False).returncode == 0:
            return str(path)
    sys.exit(
        "bhype: no Python 3.11 or later that all users may run was found (looked at " + ", ".join(names) + ")"
    )


def make_venv(requirements: str) -> None:
    """Make .venv and install ``requirements`` into it, unless it holds them already."""
    files = [BASE_DIR / "requirements.txt", BASE_DIR / requirements]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    stamp = VENV / f".{requirements}.sha256"
    if stamp.exists() and stamp.read_text() == digest:
        return
    say(f"installing {requirements} into .venv")
    if not (VENV / "bin" / "python").exists():
        call(python(), "-m", "venv", *(["--system-site-packages"] if ON_FREEBSD else []), VENV)
    call(VENV / "bin" / "pip", "install", "-q", "--disable-pip-version-check", "-r", BASE_DIR / requirements)
    stamp.write_text(digest)


def make_user() -> None:
    """As root: the unprivileged user of web and gateway, and the PAM service for sign-in."""
    if not IS_ROOT:
        say("not root: sign-in with system passwords is off, use a panel account")
        return
    try:
        pwd.getpwnam(USER)
    except KeyError:
        say(f"adding the user {USER} for the web process")
        if ON_FREEBSD:
            call("pw", "useradd", USER, "-d", "/nonexistent", "-s", "/usr/sbin/nologin", "-c", "bHype web")
        else:
            call("useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent",
                 "--shell", "/usr/sbin/nologin", USER)  # fmt: skip


def make_lab(*size: str) -> None:
    """On anything but FreeBSD: the lab host, whose commands stand in for FreeBSD's."""
    if not ON_FREEBSD:
        call(VENV / "bin" / "python", "-m", "bhype.lab", "create", STATE / "lab", *size, cwd=BASE_DIR)


def wire_lab() -> None:
    """Let the lab's frames move, in network namespaces of its own; where nobody may have such, say what that costs."""
    if ON_FREEBSD:
        return
    wires = [str(VENV / "bin" / "python"), "-m", "bhype.lab", "wires", str(STATE / "lab"), "on"]
    done = subprocess.run(wires, cwd=BASE_DIR, check=False, capture_output=True, text=True)
    if done.returncode:
        say(
            f"{done.stderr.strip()} Guests of one switch are joined by sockets; DHCP, NAT and rules have no effect."
        )


INSTALLER = Path("/usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64")
GRUB_MENUS = {
    "debian-12-installer": (
        {"linux": INSTALLER / "linux", "initrd.gz": INSTALLER / "initrd.gz"},
        'menuentry "Debian 12 installer" { linux /linux --- quiet\ninitrd /initrd.gz }\n'
        'menuentry "Debian 12 installer on the serial console" '
        "{ linux /linux console=ttyS0 --- quiet\ninitrd /initrd.gz }\n",
    ),
    "ipxe": (
        {"ipxe.efi": Path("/usr/lib/ipxe/ipxe.efi")},
        'menuentry "iPXE" { chainloader /ipxe.efi }\n',
    ),
    "memtest86plus": (
        {"memtest.efi": Path("/boot/memtest86+x64.efi")},
        'menuentry "memtest86+" { chainloader /memtest.efi }\n',
    ),
}


def make_media() -> None:
    """Bootable UEFI media from what the distribution packages, as ISO files in BHYPE_STATE/media."""
    if ON_FREEBSD or not shutil.which("grub-mkrescue") or not shutil.which("xorriso"):
        return
    folder = STATE / "media"
    for name, (files, menu) in GRUB_MENUS.items():
        target = folder / f"{name}.iso"
        if target.exists() or not all(source.exists() for source in files.values()):
            continue
        say(f"making {target.name}")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as tree:
            grub = Path(tree, "boot", "grub")
            grub.mkdir(parents=True)
            start = "insmod all_video\nserial --unit=0 --speed=115200\n"
            start += "terminal_input console serial\nterminal_output console serial\nset timeout=3\n"
            (grub / "grub.cfg").write_text(start + menu)
            for inside, source in files.items():
                shutil.copyfile(source, Path(tree, inside))
            partial = target.with_suffix(".part")
            call("grub-mkrescue", "-d", "/usr/lib/grub/x86_64-efi", "-o", partial, tree,
                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
            partial.rename(target)


def manage(*words: str) -> None:
    environment = dict(os.environ, BHYPE_STATE=str(STATE))
    call(VENV / "bin" / "python", "manage.py", *words, cwd=BASE_DIR, env=environment)


def setup_run(*size: str) -> None:
    install_packages(freebsd_packages(python()) if ON_FREEBSD else DEBIAN_RUN)
    make_venv("requirements.txt")
    # Nobody else's from the first moment; the appliance lets the service user in.
    STATE.mkdir(mode=0o750, parents=True, exist_ok=True)
    make_user()
    make_lab(*size)
    make_media()
    manage("migrate", "--verbosity", "0")
    if IS_ROOT:
        manage("authd", "--install-service")


def setup_test() -> None:
    if not ON_FREEBSD:
        install_packages(DEBIAN_RUN | DEBIAN_TEST)
    make_venv("requirements-dev.txt")
    make_user()


def replace_by(*words: str) -> None:
    """Become another program, so that signals reach it directly."""
    environment = dict(os.environ, BHYPE_STATE=str(STATE))
    os.chdir(BASE_DIR)
    path = str(VENV / "bin" / "python")
    os.execve(path, [path, *words], environment)


def main(words: list[str]) -> None:
    verb = words[0] if words else "help"
    if verb in {"run", "demo"}:
        # The demo's host is a server, whatever this machine is: what its VMs do not touch costs nothing.
        server = ["--cpus", "16", "--memory", str(128 * 2**30), "--size", str(4 * 2**40)]
        setup_run(*(server if verb == "demo" else []))
        # Guests that start before are joined by sockets, and stay so.
        wire_lab()
        if verb == "demo":
            manage("demo")
        replace_by("-m", "bhype.appliance")
    elif verb == "setup":
        setup_run()
    elif verb == "stop-vms":
        if ON_FREEBSD:
            sys.exit("bhype: stop-vms is for the lab; on FreeBSD stop VMs in the panel")
        replace_by("-m", "bhype.lab", "stop", str(STATE / "lab"))
    elif verb in {"test", "test-long", "explore", "check", "bench"}:
        setup_test()
        # Tests and benches have their own state folders.
        os.chdir(BASE_DIR)
        path = str(VENV / "bin" / "python")
        os.execv(path, [path, "-m", "tests.run", verb, *words[1:]])
    elif verb == "help":
        print(HELP)
    else:
        sys.exit(f"bhype: no such target: {verb}\n{HELP}")


if __name__ == "__main__":
    main(sys.argv[1:])
