"""The main keys of a vm.json as columns of a VM, and the rest of them as its settings."""

from __future__ import annotations

from typing import Any

from bhype.vmrun.config import COMS, Config

from . import plan
from .models import VM

Document = dict[str, Any]
# The keys that are columns, or that the panel decides; all others are kept in VM.settings as they are.
_COLUMNS = frozenset(
    {
        "$schema", "version", "bhype", "name", "uuid", "cpu", "mem", "utc_clock", "power_off_destroy_vm", "lpc_slot",
        "emulations", "bootrom", "varfile", "graphic", "com1",
    }
)  # fmt: skip


def write_columns(vm: VM, document: Document, config: Config, *, create: bool) -> None:
    """Set the columns and settings of ``vm`` to what ``document`` says; ``config`` is what was read from it.

    create: a number of CPUs alone is taken as bhyve(8) takes it.
    """
    cpu = config.cpu
    if cpu.sockets is not None:
        vm.cpus, vm.sockets, vm.threads = cpu.cpus, cpu.sockets, cpu.threads
    elif create:
        # As bhyve(8) takes a number alone.
        vm.cpus, vm.sockets, vm.threads = cpu.cpus, cpu.cpus, 1
    elif cpu.cpus != vm.cpus:
        vm.cpus, vm.sockets, vm.threads = cpu.cpus, 1, 1
    vm.memory = config.memory
    vm.utc_clock = config.flags["utc_clock"]
    vm.has_serial = "com1" in document
    kept = {key: value for key, value in document.items() if key not in _COLUMNS}
    if not vm.has_serial:
        kept.pop("com1", None)
    for number, key in enumerate(COMS, 1):
        if document.get(key) == f"/dev/nmdm-{vm.name}.{number}A":
            kept |= {key: plan.OWN_LINE} if number > 1 else {}
        elif key in document:
            kept[key] = document[key]
    kept |= _firmware(vm, document)
    if "loader" not in document or not kept["loader"]:
        kept.pop("loader", None)
    if kept.get("hostbridge") == "hostbridge":
        del kept["hostbridge"]
    if kept.pop("ignore_msr", False) is not True:
        kept["ignore_msr"] = False
    if isinstance(tpm := kept.get("tpm"), dict) and tpm.get("state") == plan.tpm_path(vm):
        kept["tpm"] = {key: value for key, value in tpm.items() if key != "state"}
    if isinstance(targets := kept.get("targets"), dict):
        kept["targets"] = {name: _without_screen(part) for name, part in targets.items()}
    vm.has_screen = config.graphic is not None
    if config.graphic:
        kept |= _screen(vm, config, document["graphic"])
    elif "graphic" in vm.settings:
        # As it was, for the day on which the VM gets a screen again.
        kept["graphic"] = vm.settings["graphic"]
    vm.settings = kept


def _firmware(vm: VM, document: Document) -> Document:
    """Set the column; the settings that belong to it."""
    loader = document.get("loader")
    if loader is not None:
        vm.firmware = VM.Firmware(loader["type"])
        return {"loader": {key: value for key, value in loader.items() if key != "type"}}
    if document["bootrom"] == plan.FIRMWARE_CSM:
        vm.firmware = VM.Firmware.CSM
        return {}
    vm.firmware = VM.Firmware.UEFI
    rom = {} if document["bootrom"] == plan.FIRMWARE_CODE else {"bootrom": document["bootrom"]}
    return rom if "varfile" in document else {**rom, "varfile": None}


def _without_screen(target: Any) -> Any:
    """A target without what `plan.with_screen` says of its screen."""
    if not isinstance(target, dict) or not isinstance(graphic := target.get("graphic"), dict):
        return target
    return {**target, "graphic": {key: graphic[key] for key in graphic.keys() - {"port", "password"}}}


_SCREEN_DEFAULTS = {"host": plan.VNC_ADDRESS, "wait": False, "xhci_table": True}


def _screen(vm: VM, config: Config, source: Document) -> Document:
    """Set the columns of the screen; its further keys as settings."""
    if (screen := config.graphic) is None:
        return {}
    vm.vnc_port, vm.vnc_password = screen.port, screen.password or vm.vnc_password
    vm.screen_width = screen.width or vm.screen_width
    vm.screen_height = screen.height or vm.screen_height
    columns = {"port", "password", "width", "height"}
    more = {
        key: value
        for key, value in source.items()
        if key not in columns and (key not in _SCREEN_DEFAULTS or value != _SCREEN_DEFAULTS[key])
    }
    return {"graphic": more} if more else {}
