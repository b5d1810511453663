"""The main keys of a vm.json, each described once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from bhype.freebsd import names
from bhype.vmrun import fields, structures
from bhype.vmrun.options import MISSING, Option, Values, by_key

DEFAULT_ROM = "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd"
_FIRMWARE = "/usr/local/share/uefi-firmware/"
# For systems without UEFI: of a package of its own, which is not kept up with bhyve.
CSM_ROM = "BHYVE_UEFI_CSM.fd"

PROCESSOR, MEMORY, FIRMWARE, SCREEN = "processor", "memory", "firmware", "screen"
SERIAL, HOST, LIMITS, LIFE = "serial", "host", "limits", "life"


def _flag(key: str, group: str, label: str, help: str, *, default: bool = False) -> Option:
    return Option(key, fields.flag, label, help, kind="flag", default=default, group=group)


_FLAGS = (
    _flag(
        "generate_acpi", FIRMWARE, "ACPI tables",
        "Needed to press the power button; always there from FreeBSD 15 on. (-A)", default=True),
    _flag(
        "wire_guest_mem", MEMORY, "Wire memory",
        "All memory is taken at the start and never swapped; PCI passthrough needs it. (-S)",
    ),
    _flag("yield_on_hlt", PROCESSOR, "Yield on HLT", "An idle guest leaves the CPU to others. (-H)", default=True),
    _flag(
        "yield_on_pause", PROCESSOR, "Yield on PAUSE",
        "A spinning guest leaves the CPU to others; not all CPUs can. (-P)",
    ),
    _flag("force_msi", PROCESSOR, "MSI, not MSI-X", "For guests whose VirtIO drivers cannot do MSI-X. (-W)"),
    _flag(
        "disable_mptable_gen", PROCESSOR, "No MP table",
        "As it must be with devices on another bus than the first. (-Y)",
    ),
    _flag("utc_clock", FIRMWARE, "Clock in UTC", "Off for Windows, which wants local time. (-u)", default=True),
    _flag(
        "ignore_msr", PROCESSOR, "Ignore unknown MSRs",
        "Many systems probe for registers that are not there. (-w)",
    ),
    _flag(
        "power_off_destroy_vm", LIFE, "Destroy at power-off",
        "The kernel forgets the VM when its guest powers off. (-D)",
    ),
    _flag(
        "guest_in_core", MEMORY, "Memory in core dumps",
        "A core dump of bhyve holds the guest's memory. (-C)",
    ),
    _flag("x2apic", PROCESSOR, "x2APIC", "For more than 255 CPUs. (-x)"),
    _flag(
        "strict_io", PROCESSOR, "Strict I/O",
        "bhyve ends when the guest uses a port that is not there. (-e)",
    ),
)  # fmt: skip
FLAGS: dict[str, bool] = {option.key: option.default for option in _FLAGS}


def _is_other_firmware(value: Any) -> bool:
    """Whether a boot ROM is any file of the host and not one of the firmware packages."""
    return not (isinstance(value, str) and re.fullmatch(_FIRMWARE + r"[A-Za-z0-9_][A-Za-z0-9_.-]*", value))


def _is_host_file(value: Any) -> bool:
    """Whether a firmware item reads a file of the host."""
    return (
        any(isinstance(item, dict) and item.get("file") is not None for item in value)
        if isinstance(value, list)
        else True
    )


def _is_host_tpm(value: Any) -> bool:
    """Whether a TPM is the host's own, or somebody else's socket."""
    return not (isinstance(value, dict) and value.get("type") == "swtpm" and value.get("path") is None)


def _is_network_line(value: Any) -> bool:
    """Whether a serial line is open to the network, where nobody asks who comes."""
    return isinstance(value, str) and value.startswith("tcp=")


def _screen_rule(values: Values) -> Iterator[str]:
    if ("width" in values) != ("height" in values):
        yield "width: width and height must both be given, or neither."


def _item_rule(values: Values) -> Iterator[str]:
    if ("string" in values) == ("file" in values):
        yield "string: It needs string or file, and not both."


def _loader_rule(values: Values) -> Iterator[str]:
    others = (
        {"root", "directory", "config"} if values["type"] == "bhyveload" else {"disk", "os_loader", "env"}
    )
    yield from (f"{key}: {values['type']} has none." for key in sorted(others & values.keys()))


def _tpm_rule(values: Values) -> Iterator[str]:
    if values["type"] == "passthru":
        if "path" not in values:
            yield f"path: {MISSING}"
        if "state" in values:
            yield "state: A passed-through TPM keeps its own."
    elif ("path" in values) == ("state" in values):
        yield "state: It needs state or path, and not both."


@fields.shape(type=["string", "integer"], maxLength=8)
def _password(value: Any) -> str:
    found = fields.text(value)
    if len(found) > 8:
        raise ValueError("VNC uses only its first 8 characters.")
    return found


GRAPHIC = by_key(
    Option("host", fields.address, "Listens on", "An IP address; 127.0.0.1 for the panel alone.", is_required=True),
    Option("port", fields.port, "Port", "For VNC.", kind="number", default=5900),
    Option("password", _password, "Password", "At most 8 characters; never shown in ps(1)."),
    Option(
        "width", fields.limited(640, 3840), "Width", "At most 1920 before FreeBSD 14.1.", kind="number",
        unit="pixels",
    ),
    Option(
        "height", fields.limited(480, 2160), "Height", "At most 1200 before FreeBSD 14.1.", kind="number",
        unit="pixels",
    ),
    Option(
        "vga", fields.vga, "VGA",
        "io: also for firmware without UEFI. on: for VGA alone, and bhyve serves no screen.",
        choices=("io", "off", "on"), default="io",
    ),
    Option(
        "wait", fields.flag, "Wait for a viewer", "The first start waits until somebody looks.", kind="flag",
        default=False,
    ),
    Option(
        "xhci_table", fields.flag, "USB tablet", "A pointer that agrees with the viewer's.", kind="flag",
        default=True,
    ),
    Option("slot", fields.slot, "PCI slot", "Of the screen; without one the next free."),
    Option("xhci_slot", fields.slot, "PCI slot of the tablet", "Without one the next free."),
)  # fmt: skip
LOADER = by_key(
    Option(
        "type", fields.text, "Loader", "bhyveload for FreeBSD, grub for Linux and others.",
        choices=("bhyveload", "grub"), is_required=True,
    ),
    Option("disk", fields.path, "Disk", "What bhyveload boots from; without one the first disk.", kind="path"),
    Option(
        "os_loader", fields.absolute, "Loader program", "Another loader than the host's /boot/userboot.so.",
        kind="path",
    ),
    Option("env", structures.variables, "Loader variables", "As autoboot_delay, for loader(8).", kind="table"),
    Option(
        "root", fields.name(r"(hd|cd)[0-9]{1,2}(,[a-z]{0,8}[0-9]{1,2})?|host", "a place such as hd0,msdos1"),
        "Root", "Where GRUB finds its configuration.", default="hd0,1",
    ),
    Option(
        "directory", fields.name(r"/[A-Za-z0-9_./-]{0,100}", "a folder such as /boot/grub"), "Folder",
        "Of grub.cfg on that place.",
    ),
    Option("config", fields.note, "grub.cfg", "The file itself, instead of the guest's.", kind="text"),
)  # fmt: skip
TPM = by_key(
    Option(
        "type", fields.text, "TPM", "One made by swtpm, or the host's own.", choices=("passthru", "swtpm"),
        is_required=True,
    ),
    Option(
        "path", fields.absolute, "Device or socket",
        "/dev/tpm0, or the socket of a swtpm that somebody else runs.", kind="path",
    ),
    Option("state", fields.absolute, "State folder", "Where swtpm keeps the TPM's memory.", kind="path"),
    Option("version", fields.text, "Version", "Of the TPM.", choices=("2.0",), default="2.0"),
)  # fmt: skip
LIMIT_OPTIONS = by_key(
    Option(
        "pcpu", fields.limited(1, 102400), "CPU", "Percent of one CPU: 150 is one and a half.", kind="number",
        unit="%",
    ),
    Option("readbps", fields.size, "Read rate", "What the VM reads from its disks.", kind="size", unit="bytes/s"),
    Option("writebps", fields.size, "Write rate", "What the VM writes to its disks.", kind="size", unit="bytes/s"),
    Option("readiops", fields.limited(1, 10**9), "Reads", "Operations.", kind="number", unit="1/s"),
    Option("writeiops", fields.limited(1, 10**9), "Writes", "Operations.", kind="number", unit="1/s"),
)  # fmt: skip
RESTART = by_key(
    Option(
        "reboot_on", structures.statuses, "Start again after",
        "Exit statuses of bhyve: 0 is a reboot, 1 a power-off, 2 a halt, 3 a triple fault.", kind="list",
        default=[0],
    ),
    Option(
        "on_crash", fields.flag, "Start again after a crash", "When bhyve fails or is killed.", kind="flag",
        default=False,
    ),
    Option(
        "limit", fields.limited(0, 1000), "At most", "Starts within the time below; then it stays off.",
        kind="number",
    ),
    Option(
        "within", fields.limited(1, 86400), "Within", "The time in which they are counted.", kind="number",
        unit="s", default=600,
    ),
    Option(
        "delay", fields.limited(0, 3600), "Delay", "Before the next start; doubled each time, to a minute.",
        kind="number", unit="s", default=1,
    ),
)  # fmt: skip
FW_CFG = by_key(
    Option(
        "name",
        fields.name(r"[A-Za-z0-9_][A-Za-z0-9_./-]{0,54}", "the name of a firmware item such as opt/org.example/key"),
        "Name", "At most 55 characters.", is_required=True,
    ),
    Option("string", fields.firmware_data, "Text", "Its content."),
    Option("file", fields.absolute, "File", "A file of the host with its content.", kind="path"),
)  # fmt: skip


def _items(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("It is not a list.")
    return value


def _com(number: int) -> Option:
    help = "stdio, a null-modem device such as /dev/nmdm-web1.1A, or tcp=127.0.0.1:4001 (FreeBSD 15)."
    return Option(
        f"com{number}",
        fields.serial,
        f"Serial port {number}",
        help,
        group=SERIAL,
        equals_root=_is_network_line,
    )


def _tables(key: str, label: str, help: str, group: str, options: dict[str, Option], **more: Any) -> Option:
    return Option(key, fields.count, label, help, kind="table", group=group, options=options, **more)


KEYS: dict[str, Option] = by_key(
    Option(
        "version", fields.version, "Version", "Of this format; a file without it is of the first.", kind="number",
        default=fields.VERSION, group=HOST,
    ),
    Option(
        "name", names.machine, "Name", "Letters, digits and . _ -; in the panel a-z, 0-9 and -.",
        is_required=True, group=HOST,
    ),
    Option(
        "uuid", fields.identity, "UUID", "Shown to the guest; without one bhyve derives it from the name.",
        group=HOST,
    ),
    Option(
        "cpu", structures.topology, "CPUs", "A number, or sockets, cores and threads.", kind="number",
        is_required=True, group=PROCESSOR,
    ),
    Option(
        "pinning", structures.pinning, "CPU pinning", "For a virtual CPU the host's CPUs on which it runs.",
        kind="table", group=PROCESSOR,
    ),
    Option(
        "mem", fields.memory, "Memory", "As 512M or 4G; a number alone is bytes.", kind="size", unit="bytes",
        is_required=True, group=MEMORY,
    ),
    Option(
        "bootrom", fields.path, "Boot ROM", "The firmware's file.", kind="path", default=DEFAULT_ROM,
        group=FIRMWARE, equals_root=_is_other_firmware,
    ),
    Option(
        "varfile", fields.variables_file, "UEFI variables",
        "The VM's own file; made from the firmware's when it is missing.", kind="path", group=FIRMWARE,
    ),
    Option(
        "fwcfg", fields.text, "Firmware interface",
        "qemu passes firmware items and the boot order; FreeBSD 14.", choices=("bhyve", "qemu"),
        default="bhyve", group=FIRMWARE,
    ),
    Option(
        "fw_cfg", _items, "Firmware items", "Values that the guest reads from its firmware; FreeBSD 14.",
        kind="tables", group=FIRMWARE, options=FW_CFG, rule=_item_rule, equals_root=_is_host_file,
    ),
    _tables(
        "loader", "Boot loader", "Instead of a boot ROM: runs on the host before each start.", FIRMWARE, LOADER,
        rule=_loader_rule, equals_root=True,
    ),
    _tables(
        "tpm", "TPM", "A trusted platform module; Windows 11 wants one. FreeBSD 14, swtpm 15.", FIRMWARE, TPM,
        rule=_tpm_rule, equals_root=_is_host_tpm,
    ),
    Option(
        "hostbridge", fields.text, "Host bridge", "amd_hostbridge for guests that look for AMD's.",
        choices=("hostbridge", "amd_hostbridge"), default="hostbridge", group=FIRMWARE,
    ),
    Option(
        "lpc_slot", fields.slot, "LPC slot", "Of the bridge with the serial ports and the ROM; 0:31:0 without.",
        group=FIRMWARE,
    ),
    _tables("graphic", "Screen", "A frame buffer, served by VNC.", SCREEN, GRAPHIC, rule=_screen_rule),
    Option("keyboard", fields.layout, "Keyboard layout", "Of the VNC viewers, as de_noacc.", group=SCREEN),
    *(_com(number) for number in range(1, 5)),
    Option("gdb", fields.gdb, "Debugger", "[w][address:]port for gdb; w waits for it.", group=HOST, equals_root=True),
    Option(
        "options", structures.options, "bhyve settings", "Names and values of bhyve_config(5).", kind="table",
        group=HOST, equals_root=True,
    ),
    Option(
        "extra_options", structures.words, "Extra options", "Words for bhyve's command line.", kind="list",
        group=HOST, equals_root=True,
    ),
    Option(
        "post_start_script", structures.script, "Script", "Run as root after each start, with the VM's name.",
        kind="path", group=LIFE, equals_root=True,
    ),
    Option("next_target", fields.text, "Next target", "What a restart lays over this configuration.", group=LIFE),
    _tables("limits", "Limits", "What the VM may use of the host, by rctl(8).", LIMITS, LIMIT_OPTIONS),
    Option("nice", fields.nice, "Priority", "-20 is the first, 20 the last.", kind="number", group=LIMITS),
    Option(
        "protect", fields.flag, "Protect", "Not killed when the host is out of memory.", kind="flag",
        default=False, group=LIMITS,
    ),
    _tables("restart", "Restart", "When the guest is started again.", LIFE, RESTART),
    *_FLAGS,
)  # fmt: skip
