"""swtpm(8): a TPM in software, from the package of that name. bhyve(8) talks to its data socket.

It needs no hardware initialisation by a control channel ("not-need-init") and begins as after power-on
("startup-clear"), since bhyve(8) has only the data channel (usr.sbin/bhyve/tpm_emul_swtpm.c).
"""

from __future__ import annotations

from bhype.freebsd.command import Command
from bhype.freebsd.names import BadName

PROGRAM = "/usr/local/bin/swtpm"


def serve(state: str, socket: str, *, version: str = "2.0") -> Command:
    """Serve one client on ``socket`` and end when it hangs up. state: the folder that keeps what the TPM knows."""
    argv = [PROGRAM, "socket", *(["--tpm2"] if version.startswith("2") else [])]
    argv += ["--tpmstate", f"dir={_word(state)},mode=0600"]
    argv += ["--server", f"type=unixio,path={_word(socket)},mode=0600"]
    return Command((*argv, "--flags", "not-need-init,startup-clear", "--terminate"))


def _word(path: str) -> str:
    """A path in a list that commas divide."""
    if not path.startswith("/") or "," in path or not path.isprintable():
        raise BadName(f"{path!r} is not a path that swtpm can take.")
    return path
