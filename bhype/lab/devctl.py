"""devctl(8): attach, detach, enable, disable, ``set driver`` and ``clear driver`` for the lab's PCI devices.

Source: devctl(8), usr.sbin/devctl/devctl.c (texts, statuses), sys/kern/subr_bus.c (errors). suspend, resume, rescan,
delete, freeze, thaw, reset and getpath are not in the lab. A device that a VM has cannot be taken from ppt:
Device busy.
"""

from __future__ import annotations

from bhype.lab import core, pci

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from bhype.lab.pci import Device

USAGE = (
    "usage: devctl attach device\n"
    "       devctl detach [-f] device\n"
    "       devctl disable [-f] device\n"
    "       devctl enable device\n"
    "       devctl suspend device\n"
    "       devctl resume device\n"
    "       devctl set driver [-f] device driver\n"
    "       devctl clear driver [-f] device\n"
    "       devctl rescan device\n"
    "       devctl delete [-f] device\n"
    "       devctl freeze\n"
    "       devctl thaw\n"
    "       devctl reset [-d] device\n"
    "       devctl getpath locator device"
)
_BUSY, _UNKNOWN = "Device busy", "Device not configured"


def main(argv: list[str]) -> int:
    core.fault(" ".join(["devctl", *argv]))
    if not argv:
        core.fail(USAGE, 1)
    verb, words = argv[0], argv[1:]
    if verb in ("set", "clear"):
        if not words:
            core.fail(f"devctl: The {verb} command requires a sub-command.", 1)
        if words[0] != "driver":
            core.fail(f"devctl: {words[0]} is not a valid sub-command of {verb}.", 1)
        words = words[1:]
    elif verb not in _USAGES:
        core.fail(f"devctl: Unknown command {verb}.", 1)
    try:
        options, words = core.getopt(words, "f" if verb not in ("attach", "enable") else "")
    except core.BadOption as error:
        core.fail(f"devctl: illegal option -- {error.letter}\n{_USAGES[verb]}", 1)
    if len(words) != (2 if verb == "set" else 1):
        core.fail(_USAGES[verb], 1)
    with core.state("pci") as data:
        reason = _do(data, verb, words, force=bool(options))
    if reason:
        core.fail(reason, 1)
    return 0


def _do(data: dict[str, Any], verb: str, words: list[str], *, force: bool) -> str:
    """Returns what failed although the device has lost its driver; what changed nothing ends the program."""
    device = pci.find(data, words[0])
    what = {"set": f"set {words[0]} driver to {words[-1]}", "clear": f"clear {words[0]} driver"}
    text = what.get(verb, f"{verb} {words[0]}")
    if device is None:
        _fail(text, _UNKNOWN)
    attached = bool(device["name"])
    if verb in ("attach", "enable"):
        if attached:
            _fail(text, _BUSY)
        return _attach(data, device, device["forced"], text)
    if verb in ("detach", "disable"):
        if not attached:
            if verb == "detach":
                _fail(text, _UNKNOWN)
            return ""
        _detach(device, text)
    elif verb == "clear":
        if not device["forced"]:
            _fail(text, "Invalid argument")
        if attached:
            if not force:
                _fail(text, _BUSY)
            _detach(device, text)
        pci.rescan(data, device)
    else:
        return _set(data, device, words[1], text, force=force)
    return ""


def _set(data: dict[str, Any], device: Device, driver: str, text: str, *, force: bool) -> str:
    if device["name"].rstrip("0123456789") == driver:
        return ""
    if device["name"]:
        if not force:
            _fail(text, _BUSY)
        _detach(device, text)
    device["forced"] = driver
    return _attach(data, device, driver, text)


def _attach(data: dict[str, Any], device: Device, driver: str, text: str) -> str:
    if not driver:
        pci.rescan(data, device)
    elif not pci.attach(data, device, driver):
        device["detached"] = True
    return "" if device["name"] else f"devctl: Failed to {text}: {_UNKNOWN}"


def _detach(device: Device, text: str) -> None:
    if device["vm"] or device["class"] == 0x060000:
        _fail(text, _BUSY)
    device["name"], device["detached"] = "", True


def _fail(text: str, reason: str) -> NoReturn:
    core.fail(f"devctl: Failed to {text}: {reason}", 1)


_LINES = [line.removeprefix("usage:").strip() for line in USAGE.splitlines()]
_USAGES = {
    line.split()[1]: f"usage: {line}"
    for line in _LINES
    if line.split()[1] in ("attach", "detach", "disable", "enable", "set", "clear")
}
