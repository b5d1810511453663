"""Where commands run: the Host protocol and LocalHost, the only importer of subprocess."""

from __future__ import annotations

from bhype.host.errors import CommandError, CommandFailed, CommandStopped, CommandTimeout, Result
from bhype.host.local import Host, Listener, LocalHost
from bhype.host.pipeline import FileSink, FileSource
from bhype.host.process import Process, Watch
from bhype.host.sockets import connect_unix, listen_unix

__all__ = [
    "CommandError",
    "CommandFailed",
    "CommandStopped",
    "CommandTimeout",
    "FileSink",
    "FileSource",
    "Host",
    "Listener",
    "LocalHost",
    "Process",
    "Result",
    "Watch",
    "connect_unix",
    "listen_unix",
]
