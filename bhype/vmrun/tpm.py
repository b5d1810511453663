"""The TPM emulator of a VM: a swtpm(8) of its own on a socket in the run directory, for each start of bhyve."""

from __future__ import annotations

from bhype.freebsd import swtpm
from bhype.freebsd.command import Command
from bhype.freebsd.ps import Process
from bhype.vmrun.config import Config
from bhype.vmrun.machine import TPM_SOCKET
from bhype.vmrun.rundir import RunDir

LOG = "swtpm.log"
# How long it may take to make its socket.
PATIENCE = 10.0


def is_ours(config: Config) -> bool:
    """Whether the supervisor runs the emulator; one with a path is somebody else's."""
    return config.tpm is not None and config.tpm.type == "swtpm" and config.tpm.state is not None


def socket(rundir: RunDir) -> str:
    return rundir.file(TPM_SOCKET)


def command(rundir: RunDir, config: Config) -> Command:
    """Make room for it and return its command line. What the TPM knows is kept where the configuration says.
    Raises OSError, ValueError."""
    tpm = config.tpm
    if tpm is None or tpm.state is None:
        raise ValueError("The VM has no TPM of its own.")
    rundir.host.makedirs(tpm.state, 0o700)
    rundir.host.unlink(socket(rundir))
    return swtpm.serve(tpm.state, socket(rundir), version=tpm.version)


def is_ready(rundir: RunDir) -> bool:
    return rundir.host.exists(socket(rundir))


def running(processes: list[Process], rundir: RunDir) -> list[int]:
    """The emulators that serve the VM's socket, whoever started them."""
    words = f"path={socket(rundir)},"
    return [one.pid for one in processes if words in one.command and "swtpm" in one.command.split()[0]]
