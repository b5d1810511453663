"""All processes of the panel in the foreground, with one readable log. Standard library only: it stays small.

    web        gunicorn with its own ASGI worker, as the service user
    gateway    websockify for consoles, as the service user
    worker     django-q2's processes, root: they run the operations
    observer   reads the host, root
    authd      asks PAM, root

Stopping it stops these and nothing else: virtual machines belong to their own supervisors and go on.
Started by an ordinary user, everything runs as that user and sign-in with system passwords is off.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import selectors
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

BASE_DIR = Path(__file__).resolve().parent.parent
ON_FREEBSD = sys.platform.startswith("freebsd")
LEASH = BASE_DIR / "bhype" / "host" / "leash.py"
STOP_SECONDS = 12.0
# A process that lived shorter than this is started again only after a pause that doubles.
STEADY_SECONDS = 20.0


@dataclass(slots=True)
class Layout:
    """Where everything of one installation lies, and as whom web and gateway run."""

    state: Path
    root: str
    bind: str
    port: int
    user: str
    privileged: bool
    environment: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_environment(cls) -> Layout:
        state = Path(
            os.environ.get("BHYPE_STATE") or ("/var/db/bhype" if ON_FREEBSD else BASE_DIR / ".state")
        ).resolve()
        privileged = os.geteuid() == 0
        user = os.environ.get("BHYPE_USER", "bhype") if privileged else pwd.getpwuid(os.geteuid()).pw_name
        root = os.environ.get("BHYPE_ROOT") or ("/" if ON_FREEBSD else str(state / "lab" / "root"))
        environment = dict(os.environ, BHYPE_STATE=str(state), BHYPE_ROOT=root, PYTHONUNBUFFERED="1")
        environment["DJANGO_SETTINGS_MODULE"] = "bhype.settings"
        return cls(
            state=state,
            root=root,
            bind=os.environ.get("BHYPE_BIND", "127.0.0.1"),
            port=int(os.environ.get("BHYPE_PORT", "8080")),
            user=user,
            privileged=privileged,
            environment=environment,
        )

    @property
    def run(self) -> Path:
        return self.state / "run"

    @property
    def address(self) -> str:
        """Where the panel is reached on this machine; all addresses include the loopback one."""
        return "127.0.0.1" if self.bind in {"0.0.0.0", "::"} else self.bind  # noqa: S104

    @property
    def url(self) -> str:
        return f"http://{f'[{self.address}]' if ':' in self.address else self.address}:{self.port}"


@dataclass(slots=True)
class Service:
    """One process of the panel, and its place in the log."""

    name: str
    argv: list[str]
    unprivileged: bool = False
    process: subprocess.Popen[bytes] | None = None
    pipe: IO[bytes] | None = None
    started: float = 0.0
    pause: float = 1.0
    restart_at: float = 0.0
    rest: bytes = b""


def services(layout: Layout) -> list[Service]:
    python, manage = sys.executable, [sys.executable, "manage.py"]
    gateway = [python, "-m", "bhype.console.gateway", "--socket", str(layout.run / "gateway.sock")]
    gateway += ["--key-file", str(layout.state / "gateway.key"), "--root", layout.root]
    web = [python, "-m", "gunicorn", "-k", "asgi", "--bind", f"{layout.bind}:{layout.port}", "--workers", "1"]
    web += ["--graceful-timeout", "3", "--timeout", "60", "--no-control-socket", "--log-level", "warning"]
    # noVNC sends at most 10 KiB at once; a large frame would be unmasked byte by byte, in Python.
    web += ["--websocket-max-message-size", str(1 << 20)]
    web += ["bhype.asgi:application"]
    found = [
        Service("worker", [*manage, "worker"]),
        Service("observer", [*manage, "observer"]),
        Service("gateway", gateway, unprivileged=True),
        Service("web", web, unprivileged=True),
    ]
    if layout.privileged:
        found.insert(0, Service("authd", [*manage, "authd"]))
    return found


def prepare(layout: Layout) -> None:
    """Make the folders that several users share, with the modes that keep others out."""
    group = pwd.getpwnam(layout.user).pw_gid
    # Sticky, and root's: of what root makes there, the service user can move or replace nothing.
    folders = {layout.state: 0o750, layout.run: 0o3770, layout.state / "db": 0o3770}
    for folder, mode in folders.items():
        folder.mkdir(parents=True, exist_ok=True)
        if layout.privileged:
            os.chown(folder, 0, group)
        folder.chmod(mode)
    # Recorded console sessions: the gateway writes them, the web process shows them, nobody else reads them.
    recordings = layout.state / "recordings"
    recordings.mkdir(mode=0o700, exist_ok=True)
    if layout.privileged:
        os.chown(recordings, pwd.getpwnam(layout.user).pw_uid, group, follow_symlinks=False)
    # Supervisors write their run directories as root; the gateway reads the VNC port and the serial socket there.
    guests = Path(layout.root + "/var/run/bhype/vms")
    guests.mkdir(parents=True, exist_ok=True)
    for folder in (guests.parent, guests):
        if layout.privileged:
            os.chown(folder, 0, group)
        folder.chmod(0o2750)
    if layout.privileged:
        # Of guests that were started before the panel, such as the demo's. Only root may write there.
        for place, _, names in os.walk(guests):
            for path in (Path(place), *(Path(place, name) for name in names)):
                with contextlib.suppress(FileNotFoundError):
                    os.chown(path, -1, group, follow_symlinks=False)
        for file in [layout.state / "secret.key", layout.state / "gateway.key"]:
            if file.exists():
                share(file, group, 0o640)
        for file in (layout.state / "db").iterdir():
            share(file, group, 0o660)
        for folder in (layout.state, layout.state / "lab", Path(layout.root)):
            if folder.exists() and folder != Path("/"):
                os.chown(folder, -1, group)
                folder.chmod(folder.stat().st_mode | stat.S_IXGRP)


def share(path: Path, group: int, mode: int) -> None:
    """Make a file root's, and let the service user's group use it. Raises SystemExit for anything but a plain
    file of one name: a link there could lead root to a file that is none of the service user's business."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise SystemExit(
            f"bhype: {path}: {error.strerror}. Look at it, and remove it if it is a link."
        ) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise SystemExit(f"bhype: {path} is not a plain file of one name. Look at it, then remove it.")
        os.fchown(descriptor, 0, group)
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def write_number(path: Path, number: int) -> None:
    """Write a process's number, never through a link: the service user may make files in this folder, too."""
    path.unlink(missing_ok=True)
    # Whoever was faster keeps the name; the numbers are for people only.
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o640)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{number}\n")


def unreachable(layout: Layout) -> str | None:
    """The first folder on the way to the code or to Python that the service user may not enter, if any."""
    if not layout.privileged:
        return None
    account = pwd.getpwnam(layout.user)
    groups = set(os.getgrouplist(layout.user, account.pw_gid))
    for target in (BASE_DIR / "manage.py", Path(sys.executable).resolve(), layout.run):
        for folder in target.parents:
            status = folder.stat()
            bit = stat.S_IXOTH
            if status.st_uid == account.pw_uid:
                bit = stat.S_IXUSR
            elif status.st_gid in groups:
                bit = stat.S_IXGRP
            if not status.st_mode & bit:
                return str(folder)
    return None


class Appliance:
    """Starts the services, copies their lines into one log, starts again what ends, stops them together."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.services = services(layout)
        self.selector = selectors.DefaultSelector()
        self.stopping = False
        self.announced = False

    def say(self, name: str, line: str) -> None:
        stamp = time.strftime("%H:%M:%S")
        print(f"{stamp} {name:<8} | {line}", flush=True)  # noqa: T201

    def start(self, service: Service) -> None:
        account = pwd.getpwnam(self.layout.user)
        drop = service.unprivileged and self.layout.privileged
        environment = dict(self.layout.environment)
        if service.name == "web":
            # WhiteNoise reads files synchronously; Django says so at each one.
            environment["PYTHONWARNINGS"] = "ignore:StreamingHttpResponse must consume:Warning"
        if drop:
            environment |= {"HOME": str(self.layout.state), "USER": self.layout.user}
        service.process = subprocess.Popen(
            # Not even kill -9 of this process leaves services behind that would stand in the way of the next.
            [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), *service.argv],
            cwd=BASE_DIR,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=account.pw_uid if drop else None,
            group=account.pw_gid if drop else None,
            extra_groups=os.getgrouplist(self.layout.user, account.pw_gid) if drop else None,
            umask=0o007,
        )
        service.started = time.monotonic()
        service.pipe = cast("IO[bytes]", service.process.stdout)
        os.set_blocking(service.pipe.fileno(), False)
        self.selector.register(service.pipe, selectors.EVENT_READ, service)
        write_number(self.layout.run / f"{service.name}.pid", service.process.pid)

    def read(self, service: Service) -> None:
        """Copy the lines that a service has written; at their end its last words."""
        if service.pipe is None or (data := service.pipe.read()) is None:
            return
        *lines, service.rest = (service.rest + data).split(b"\n")
        if not data:
            self.close(service)
            lines, service.rest = ([service.rest] if service.rest else []), b""
        for line in lines:
            self.say(service.name, line.decode(errors="replace").rstrip())

    def close(self, service: Service) -> None:
        if service.pipe is not None:
            self.selector.unregister(service.pipe)
            service.pipe.close()
            service.pipe = None

    def look_after(self, service: Service) -> None:
        now = time.monotonic()
        process = service.process
        if process is not None and process.poll() is not None:
            self.read(service)
            self.close(service)
            self.kill(process, signal.SIGKILL)  # what it left behind in its session
            steady = now - service.started > STEADY_SECONDS
            service.pause = 1.0 if steady else min(service.pause * 2, 30.0)
            service.restart_at = now + (0 if steady else service.pause)
            service.process = None
            self.say(service.name, f"ended with status {process.returncode}; starting it again")
        if service.process is None and not self.stopping and now >= service.restart_at:
            self.start(service)

    @staticmethod
    def kill(process: subprocess.Popen[bytes], number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)

    def announce(self) -> None:
        """Once the web process answers: where it is, and how the first admin gets in."""
        with (
            contextlib.suppress(OSError),
            socket.create_connection((self.layout.address, self.layout.port), 0.2),
        ):
            self.announced = True
        if not self.announced:
            return
        answer = subprocess.run(
            [sys.executable, "manage.py", "setup_link"],
            cwd=BASE_DIR, env=self.layout.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        self.say("bhype", f"The panel answers at {self.layout.url}/")
        for line in (answer.stdout or answer.stderr).strip().splitlines():
            self.say("bhype", line)
        self.say("bhype", "Ctrl-C stops the panel; virtual machines go on.")

    def deliver_media(self) -> None:
        """Put the lab's boot media into the library once the pool has been adopted."""
        library = Path(self.layout.root + "/tank/bhype/isos")
        media = self.layout.state / "media"
        if ON_FREEBSD or not library.is_dir() or not media.is_dir():
            return
        for image in media.glob("*.iso"):
            if not (library / image.name).exists():
                partial = library / f".{image.name}.part"
                shutil.copyfile(image, partial)
                partial.rename(library / image.name)
                self.say("bhype", f"{image.name} is in the ISO library")

    def run(self) -> int:
        def stop(_number: int, _frame: object) -> None:
            self.stopping = True

        signal.signal(signal.SIGINT, stop)
        signal.signal(signal.SIGTERM, stop)
        for service in self.services:
            self.start(service)
        looked = 0.0
        while not self.stopping:
            for key, _ in self.selector.select(0.25):
                self.read(key.data)
            for service in self.services:
                self.look_after(service)
            if not self.announced:
                self.announce()
            if time.monotonic() - looked > 2:
                looked = time.monotonic()
                self.deliver_media()
        return self.stop()

    def stop(self) -> int:
        self.say("bhype", "stopping the panel; virtual machines go on")
        alive = {service.name: service.process for service in self.services if service.process is not None}
        for process in alive.values():
            # To the leader only: it ends its own children in order.
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        end = time.monotonic() + STOP_SECONDS
        while time.monotonic() < end and any(process.poll() is None for process in alive.values()):
            for key, _ in self.selector.select(0.1):
                self.read(key.data)
        for process in alive.values():
            self.kill(process, signal.SIGKILL)
            process.wait()
        for service in self.services:
            (self.layout.run / f"{service.name}.pid").unlink(missing_ok=True)
        return 0


def main() -> int:
    layout = Layout.from_environment()
    try:
        pwd.getpwnam(layout.user)
    except KeyError:
        print(f"There is no user {layout.user}: make one, or set BHYPE_USER.", file=sys.stderr)  # noqa: T201
        return 1
    prepare(layout)
    if folder := unreachable(layout):
        name = grp.getgrgid(pwd.getpwnam(layout.user).pw_gid).gr_name
        print(  # noqa: T201
            f"Web and gateway run as user {layout.user} (group {name}), who may not enter {folder}.\n"
            f"Move the checkout and its Python to a folder that all may enter, or: chmod o+x {folder}",
            file=sys.stderr,
        )
        return 1
    return Appliance(layout).run()


if __name__ == "__main__":
    sys.exit(main())
