"""Stands for a dnsmasq that nobody could hear: ``dnsmasq_idle.py LAB PIDFILE``.

It lives until it is ended, or the lab is gone.
"""

from __future__ import annotations

import os
import signal
import sys
import time


def main(folder: str, pid_file: str) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    draft = f"{pid_file}.{os.getpid()}"
    with open(draft, "w") as file:
        file.write(f"{os.getpid()}\n")
    os.replace(draft, pid_file)
    while os.path.isdir(folder + "/state"):  # its root may be there again, by a program that wrote last
        time.sleep(1)


main(*sys.argv[1:])
