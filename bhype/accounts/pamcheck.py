"""Check a system user's password, and whether that user may sign in. Runs as root in a child of authd.

PAM's numbers differ between Linux-PAM and OpenPAM: only 0 means the same everywhere (pam_constants.h).
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import re
import resource
import signal
import sys
from pathlib import Path

OK, REFUSED, EXPIRED, UNAVAILABLE = 0, 1, 2, 3
REASONS = {OK: "", REFUSED: "refused", EXPIRED: "expired", UNAVAILABLE: "unavailable"}

_ON_LINUX = sys.platform.startswith("linux")
# PAM_NEW_AUTHTOK_REQD, PAM_ACCT_EXPIRED, PAM_AUTHTOK_EXPIRED: of the account phase, after the right password.
_EXPIRED_CODES = frozenset({12, 13, 27} if _ON_LINUX else {10, 17, 18})
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
# PAM_MAX_RESP_SIZE
PASSWORD_MAX = 512
_NO_SHELL = frozenset({"nologin", "false"})
SECONDS = 10

_LINUX_SERVICE = """\
# Sign-in to bHype. Its authd also asks for membership of a group, and slows guessing down itself.
auth     required pam_unix.so nodelay
account  required pam_unix.so
password required pam_deny.so
session  required pam_deny.so
"""
_FREEBSD_SERVICE = """\
# Sign-in to bHype. Its authd also asks for membership of a group, and slows guessing down itself.
auth     required pam_unix.so no_warn
account  required pam_unix.so
password required pam_deny.so
session  required pam_deny.so
"""


def say(text: str) -> None:
    sys.stderr.write(f"authd: {text}\n")
    sys.stderr.flush()


def pam_service_text() -> str:
    """The content of the service file here (pam.conf(5)); without nullok, never ``login`` or ``system``."""
    return _LINUX_SERVICE if _ON_LINUX else _FREEBSD_SERVICE


def service_paths(service: str) -> list[str]:
    """Where the service file may lie. Without one PAM would silently fall back to the service ``other``."""
    return [f"/etc/pam.d/{service}", f"/usr/local/etc/pam.d/{service}"]


def install_service(service: str) -> str:
    """Write the service file if there is none. Returns its path. Raises OSError."""
    for path in service_paths(service):
        if Path(path).exists():
            return path
    path = service_paths(service)[0 if _ON_LINUX else 1]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    with os.fdopen(descriptor, "w") as file:
        file.write(pam_service_text())
    return path


def load() -> None:
    """Load libpam now, so that a check only forks."""
    import pam

    pam.pam()


def confine() -> None:
    """Limit this process, which is there for one check: no core file with a password in it, an end in any case."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(SECONDS)


def check(user: str, password: str, groups: list[str], service: str) -> int:
    """Ask PAM, then look whether the account may be used here. Returns OK, REFUSED, EXPIRED or UNAVAILABLE.

    PAM is asked first in any case, so that the time tells nothing about the account. Says on stderr why an
    account that exists was refused; never says a password.
    """
    if not any(Path(path).is_file() for path in service_paths(service)):
        say(
            f"the PAM service file {service_paths(service)[0 if _ON_LINUX else 1]} is missing: "
            "manage.py authd --install-service"
        )
        return UNAVAILABLE
    if (
        not _USER.fullmatch(user)
        or not 0 < len(password.encode(errors="replace")) <= PASSWORD_MAX
        or "\0" in password
    ):
        return REFUSED
    import pam

    asked = pam.pam()
    try:
        right = asked.authenticate(user, password, service=service, resetcreds=False)
    except (ValueError, UnicodeError):
        return REFUSED
    obstacle = why_not(user, groups)
    if obstacle:
        say(obstacle)
        return REFUSED
    if right:
        return OK
    if asked.code in _EXPIRED_CODES:
        say(f"{user}: the account or its password has expired")
        return EXPIRED
    say(f"{user}: not the right password, or locked")
    return REFUSED


def why_not(user: str, groups: list[str]) -> str:
    """Why this account may not sign in, whatever its password; "" if it may. Names only existing accounts."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        # Somebody may have typed a password into the field of the name: it is not logged.
        return "no such user"
    if entry.pw_uid == 0 or entry.pw_name != user:
        return f"{user}: root does not sign in"
    stored = _stored_hash(entry)
    if stored == "":
        return f"{user}: has no password"
    if stored is not None and stored.startswith(("!", "*")):
        return f"{user}: is locked"
    if Path(entry.pw_shell).name in _NO_SHELL:
        return f"{user}: its shell is {entry.pw_shell}"
    members = set(os.getgrouplist(user, entry.pw_gid))
    allowed = {found.gr_gid for found in grp.getgrall() if found.gr_name in groups}
    if not members & allowed:
        return f"{user}: in none of the groups {', '.join(groups)}"
    return ""


def _stored_hash(entry: pwd.struct_passwd) -> str | None:
    """The stored password of an account, None where it cannot be read here (another name service)."""
    if entry.pw_passwd != "x":  # noqa: S105 - says that it lies in shadow(5)
        elsewhere = _ON_LINUX and entry.pw_passwd == "*"  # noqa: S105
        return None if elsewhere else entry.pw_passwd
    # An error means not root: PAM decides alone.
    with contextlib.suppress(OSError), Path("/etc/shadow").open(encoding="utf-8", errors="replace") as file:
        for line in file:
            name, _, rest = line.partition(":")
            if name == entry.pw_name:
                return rest.partition(":")[0]
    return None
