"""Files on a guest's disks and on the host by GRUB's names: ``(hd0,msdos1)/vmlinuz``, ``(host)/path``, ``/vmlinuz``."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

from bhype.lab import core

_PROGRAM = "grub-fstest"  # of the package grub-common: GRUB's own file systems


class Unreadable(Exception):
    """A file or device that is not there, or that nothing can read here."""


def device_map(path: str) -> dict[str, str]:
    """The lines ``(hd0) /path`` of a device map: where each device lies on this machine. Missing: none."""
    try:
        with open(path) as file:
            text = file.read()
    except OSError:
        return {}
    found = re.findall(r"^\s*\(((?:hd|cd)\d+)\)\s+(\S.*?)\s*$", text, re.MULTILINE)
    return {name: core.root(place) if place.startswith("/") else place for name, place in found}


class Places:
    """Reads files. root: the device of a path without one; `root` may be set again."""

    def __init__(self, devices: dict[str, str], root: str) -> None:
        self.devices = devices
        self.root = root

    def read(self, path: str) -> bytes:
        """The content of a file. Raises Unreadable."""
        device, inside = self._split(path)
        if device == "host":
            try:
                with open(core.root(inside), "rb") as file:
                    return file.read()
            except OSError as error:
                raise Unreadable(f"file `{inside}' not found.") from error
        done = self._fstest(device, ["cat", inside])
        if done.returncode:
            raise Unreadable(f"file `{inside}' not found.")
        return done.stdout

    def exists(self, path: str, kind: str = "e") -> bool:
        """Whether there is a file (``kind`` f), a folder (d) or either (e)."""
        device, inside = self._split(path)
        if device == "host":
            place = core.root(inside)
            return {"e": os.path.exists, "f": os.path.isfile, "d": os.path.isdir}[kind](place)
        try:
            above, name = os.path.split(inside.rstrip("/") or "/")
            done = self._fstest(device, ["ls", above])
        except Unreadable:
            return False
        names = done.stdout.decode(errors="replace").split()
        if kind != "d" and name in names:
            return True
        return kind != "f" and (not name or f"{name}/" in names)

    def places(self) -> list[str]:
        """All devices and the partitions that GRUB finds on them, ``hd0`` before ``hd0,msdos1``."""
        found = []
        for device in sorted(self.devices):
            parts: list[str] = []
            try:
                text = self._fstest(device, ["ls"]).stdout.decode(errors="replace")
                parts = re.findall(r"\(loop0,(\w+)\)", text)
            except Unreadable:
                continue
            found += [device, *(f"{device},{part}" for part in reversed(parts))]
        return found

    def _split(self, path: str) -> tuple[str, str]:
        match = re.fullmatch(r"\(([^)]+)\)(.*)", path)
        device, inside = (match[1], match[2]) if match else (self.root, path)
        return device, inside if inside.startswith("/") else "/" + inside

    def _fstest(self, device: str, words: list[str]) -> subprocess.CompletedProcess[bytes]:
        name, _, part = device.partition(",")
        image = self.devices.get(name)
        if image is None or not os.path.exists(image):
            raise Unreadable(f"disk `{device}' not found.")
        program = shutil.which(_PROGRAM, path="/usr/local/bin:/usr/bin:/bin:/usr/sbin")
        if program is None:
            raise Unreadable(f"{_PROGRAM} is not installed.")
        # Partitions may be given as "1" or as "msdos1" and "gpt1".
        where = f"loop0,{part}" if part else "loop0"
        options = ["-r", where] if words != ["ls"] else []
        return subprocess.run([program, *options, image, *words], capture_output=True, check=False)
