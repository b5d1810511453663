"""vm-bhyve's guest configuration: NAME.conf, lines of key="value".

vm-bhyve does not evaluate the file, and neither is it evaluated here: a line counts when it begins with a lower-case
letter, ends at the first "#", loses its quotes, and the first of two counts (vm(8), config.sample). Slots are those
that vm-bhyve gives, because a guest calls its devices by them.
"""

from __future__ import annotations

import re
import shlex

from bhype.vmrun.config import Document

from .command_line import loader_of, options
from .imported import FIRMWARE, Draft, Imported, Unreadable, memory, numeral, size

_ROMS = {
    "uefi": "BHYVE_UEFI.fd",
    "uefi-csm": "BHYVE_UEFI_CSM.fd",
    "uefi-devel": "BHYVE_UEFI_CODE-devel.fd",
}
_NO = frozenset({"no", "off", "false", "0", ""})
# What changes nothing of the machine, with the reason to say; "" says nothing.
_SILENT = {
    "debug": "",
    "start_slot": "",
    "ahci_device_limit": "",
    "install_slot": "",
    "loader_timeout": "",
    "nulliso_fix": "",
    "graphics_wait": "",
}
_LEFT = {
    "zfs_dataset_opts": "the ZFS properties of new datasets",
    "zfs_zvol_opts": "the ZFS properties of new volumes",
    "prestart": "the script before each start",
}


class _Slots:
    """vm-bhyve's counter of bus, slot and function."""

    def __init__(self, first: int) -> None:
        self.bus, self.slot, self.function, self._end = 0, first, 0, 31
        self._wrap()

    def _wrap(self) -> None:
        if self.slot >= self._end:
            # Slot 31 of the first bus is the LPC bridge's.
            self.bus, self.slot, self._end = self.bus + 1, 0, 32

    def here(self, function: int | None = None) -> str:
        return f"{self.bus}:{self.slot}:{self.function if function is None else function}"

    def next_slot(self) -> None:
        self.slot, self.function = self.slot + 1, 0
        self._wrap()

    def next_function(self) -> None:
        self.function += 1
        if self.function == 8:
            self.next_slot()

    def take(self) -> str:
        """A slot of its own."""
        place = self.here(0)
        self.next_slot()
        return place


class _Keys:
    """The file's values; it knows which were asked for."""

    def __init__(self, values: dict[str, str]) -> None:
        self.values, self.read = values, set[str]()

    def get(self, key: str, default: str = "") -> str:
        self.read.add(key)
        return self.values.get(key, default)

    def is_on(self, key: str, default: str = "") -> bool:
        return self.get(key, default).lower() not in _NO


def read(text: str, *, name: str = "", folder: str = "", dataset: str = "") -> Imported:
    """The VM of one NAME.conf in ``folder``, its volumes below ``dataset``. Raises Unreadable."""
    draft = Draft(name or folder.rstrip("/").rpartition("/")[2], folder, dataset)
    keys = _Keys(_values(draft, text))
    _main(draft, keys)
    is_uefi = _boot(draft, keys)
    slots = _Slots(_number(draft, keys, "start_slot", 4))
    _disks(draft, keys, slots, is_uefi=is_uefi)
    _networks(draft, keys, slots)
    if keys.is_on("virt_random"):
        draft.emulations.append({"device": "virtio-rnd", "slot": slots.take()})
    _passthru(draft, keys, slots)
    _screen(draft, keys, slots, is_uefi=is_uefi)
    _sound(draft, keys, slots)
    _consoles(draft, keys, slots)
    _limits(draft, keys)
    options(draft, _words(draft, keys, "bhyve_options"))
    for key in keys.values.keys() - keys.read:
        if key in _LEFT:
            draft.left_out(f"{_LEFT[key]} ({key}={keys.values[key]})")
        elif key not in _SILENT:
            draft.left_out(f"{key}={keys.values[key]}"[:200])
    draft.notes.sort(key=lambda note: note.startswith("Left out"))
    return draft.finish()


def _values(draft: Draft, text: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        content = line.partition("#")[0].rstrip()
        if not content.strip():
            continue
        if not re.match("[a-z]", content):
            draft.left_out(f"line {number}, which vm-bhyve ignores, too: {line.strip()[:80]}")
            continue
        key, equals, value = content.partition("=")
        if not equals or not re.fullmatch(r"[a-z][a-z0-9_]*", key):
            raise Unreadable(f'Line {number} is not key="value": {line[:80]!r}.')
        if re.search(r"[$`]", value):
            draft.problem("vm", f"{key}: {value!r} is not evaluated.", "Write out what it stands for.")
        elif key in values:
            draft.note(f"{key} is there twice; the first counts, as for vm-bhyve.")
        values.setdefault(key, value.replace('"', ""))
    return values


def _number(draft: Draft, keys: _Keys, key: str, default: int) -> int:
    text = keys.get(key).strip()
    if text and not (text.isascii() and text.isdigit() and len(text) < 6):
        draft.problem("vm", f"{key}: {text!r} is not a number.")
        return default
    return int(text) if text else default


def _words(draft: Draft, keys: _Keys, key: str) -> list[str]:
    try:
        return shlex.split(keys.get(key))
    except ValueError:
        draft.problem("vm", f"{key}: a quotation does not end.")
        return []


def _main(draft: Draft, keys: _Keys) -> None:
    document = draft.document
    cpus = _number(draft, keys, "cpu", 1)
    parts = {key: _number(draft, keys, f"cpu_{key}", 0) for key in ("sockets", "cores", "threads")}
    document["cpu"] = cpus
    if any(parts.values()):
        cores, threads = parts["cores"] or 1, parts["threads"] or 1
        # As bhyve: sockets default to the number of CPUs, so that the rest has to fit.
        document["cpu"] = {"sockets": parts["sockets"] or cpus, "cores": cores, "threads": threads}
        if (parts["sockets"] or cpus) * cores * threads != cpus:
            shape = f"{parts['sockets'] or cpus} sockets of {cores} cores of {threads} threads"
            draft.problem("vm", f"cpu: {shape} are not {cpus} CPUs.", "bhyve would not start.")
    amount = size(keys.get("memory"), "M")
    document["mem"] = memory(amount) if amount else keys.get("memory")
    document |= {"generate_acpi": True, "yield_on_hlt": True, "yield_on_pause": True, "ignore_msr": True}
    keys.get("ignore_msr"), keys.get("ignore_bad_msr")
    document["wire_guest_mem"] = keys.is_on("wired_memory")
    document["utc_clock"] = keys.is_on("utctime", "yes")
    bridge = keys.get("hostbridge", "standard")
    document["hostbridge"] = "amd_hostbridge" if bridge == "amd" else "hostbridge"
    if bridge.startswith("no"):
        draft.note("It had no host bridge; here each VM has one, in slot 0.")
    document["lpc_slot"] = "0:31:0"
    if keys.get("uuid"):
        document["uuid"] = keys.get("uuid").lower()
    for number, port in enumerate(keys.get("comports", "com1").split(), 1):
        if re.fullmatch("com[1-4]", port):
            document[port] = f"/dev/nmdm-{draft.name or 'imported'}.{number}A"
        else:
            draft.problem("vm", f"comports: {port!r} is not a serial port.")
    restart: Document = {}
    if keys.get("on_restart", "restart") != "restart":
        restart["reboot_on"] = []
    if keys.get("on_fault", "shutdown") == "restart":
        restart["on_crash"] = True
    if restart:
        document["restart"] = restart


def _boot(draft: Draft, keys: _Keys) -> bool:
    """The firmware or loader; returns whether it is a firmware."""
    loader = keys.get("loader")
    if loader.startswith("uefi"):
        rom = f"{FIRMWARE}/{_ROMS.get(loader, _ROMS['uefi'])}"
        if loader == "uefi-custom":
            rom = f"{draft.folder.rstrip('/').rpartition('/')[0]}/.config/BHYVE_UEFI.fd"
        draft.document["bootrom"] = rom
        if keys.is_on("uefi_vars"):
            draft.document["varfile"] = draft.path("uefi-vars.fd")
        return True
    if loader == "bhyveload":
        found = loader_of(draft, "bhyveload", _words(draft, keys, "bhyveload_args"))
        # As vm-bhyve itself tells the loader, and the loader the guest's kernel.
        environment = {"autoboot_delay": keys.get("loader_timeout", "3"), "bhyve_vm_name": draft.name}
        if keys.get("uuid"):
            environment["smbios.system.uuid"] = keys.get("uuid")
        arguments = found.get("env")
        found["env"] = environment | (arguments if isinstance(arguments, dict) else {})
        if keys.get("bhyveload_loader"):
            found["os_loader"] = keys.get("bhyveload_loader")
        draft.document["loader"] = found
    elif loader == "grub":
        draft.document["loader"] = _grub(draft, keys)
    else:
        draft.problem("vm", f"loader: {loader!r} is none that vm-bhyve knows.", "Choose a firmware.")
    return False


def _grub(draft: Draft, keys: _Keys) -> Document:
    root = f"hd0,{keys.get('grub_run_partition') or '1'}"
    found: Document = {"type": "grub", "root": root}
    directory, file = keys.get("grub_run_dir"), keys.get("grub_run_file")
    commands = _numbered(keys, "grub_run{}")
    if commands:
        lines = [f"    {command}" for command in commands if command != "boot"]
        head = [f"timeout={keys.get('loader_timeout', '3')}", f"menuentry '{draft.name} (bhyve run)' {{"]
        found["config"] = "\n".join([*head, f"    root={root}", *lines, "}", ""])
    elif directory:
        found["directory"] = directory
    if file:
        draft.left_out(f"the name of grub's file ({file}); grub-bhyve looks for grub.cfg")
    if installing := _numbered(keys, "grub_install{}"):
        draft.left_out(f"grub's commands for an installation: {'; '.join(installing)}"[:400])
    return found


def _numbered(keys: _Keys, pattern: str) -> list[str]:
    """The values of key0, key1, ... up to the first that is missing."""
    found: list[str] = []
    while value := keys.get(pattern.format(len(found))):
        found.append(value)
    return found


def _disk_path(draft: Draft, kind: str, name: str) -> str:
    if kind in {"zvol", "sparse-zvol"}:
        if not draft.dataset:
            draft.note(f"{name} is a volume of the VM's dataset, which is not known here.")
        return f"/dev/zvol/{draft.dataset}/{name}" if draft.dataset else name
    if kind == "iscsi":
        draft.problem("vm", f"The disk {name} is an iSCSI target.", "Give the path of its device.")
    return name if kind == "custom" else draft.path(name)


def _disks(draft: Draft, keys: _Keys, slots: _Slots, *, is_uefi: bool) -> None:
    limit = _number(draft, keys, "ahci_device_limit", 1)
    limit = limit if 2 <= limit <= 32 else 1
    ports: list[Document] = []
    number = 0

    def put(entry: Document) -> None:
        draft.emulations.append({"device": entry.pop("device"), "slot": slots.here(), **entry})
        # A firmware looks for disks in function 0 only.
        slots.next_slot() if is_uefi else slots.next_function()

    def put_ports() -> None:
        if len(ports) == 1:
            put({"device": f"ahci-{ports[0].pop('type')}", **ports[0]})
        elif ports:
            put({"device": "ahci", "ports": list(ports)})
        ports.clear()

    while (name := keys.get(f"disk{number}_name")) and (kind := keys.get(f"disk{number}_type")):
        path = _disk_path(draft, keys.get(f"disk{number}_dev", "file"), name)
        entry: Document = {"path": path, **_disk_options(draft, keys.get(f"disk{number}_opts"))}
        if amount := size(keys.get(f"disk{number}_size")):
            draft.sizes[path] = amount
        if limit > 1 and kind.startswith("ahci-"):
            ports.append({"type": kind.removeprefix("ahci-"), **entry})
            if len(ports) == limit:
                put_ports()
        else:
            put({"device": kind, **entry})
        number += 1
    put_ports()
    if number and not is_uefi:
        slots.next_slot()


def _disk_options(draft: Draft, text: str) -> Document:
    found: Document = {}
    for word in filter(None, text.split(",")):
        key, equals, value = word.partition("=")
        if key in {"direct", "nocache", "ro", "nodelete"} and not equals:
            found[key] = True
        elif key == "sectorsize":
            logical, _, physical = value.partition("/")
            found["logical_sector_size"] = logical
            if physical:
                found["physical_sector_size"] = physical
        elif equals:
            found[key] = value
        else:
            draft.left_out(f"the option {word} of a disk")
    return {
        key: numeral(value) if isinstance(value, str) and key != "ser" else value
        for key, value in found.items()
    }


def _networks(draft: Draft, keys: _Keys, slots: _Slots) -> None:
    number = 0
    while kind := keys.get(f"network{number}_type"):
        switch, mac = keys.get(f"network{number}_switch"), keys.get(f"network{number}_mac")
        values = {"slot": slots.here()} | ({"mac": mac} if mac else {})
        entry = draft.nic(kind, f"vm-{switch}" if switch else "", **values)
        if len(switch) > 12:
            entry.pop("bridge")
            draft.note(f"The bridge of the switch {switch} has a name of its own; choose a switch.")
        if device := keys.get(f"network{number}_device"):
            entry["name"] = device
            entry.pop("fix")
        elif name := keys.get(f"network{number}_name"):
            draft.left_out(f"the name {name} of a network port")
        if keys.is_on(f"network{number}_span"):
            draft.left_out(f"that network port {number} is a SPAN port of its switch")
        slots.next_function()
        number += 1
    if number:
        slots.next_slot()


def _passthru(draft: Draft, keys: _Keys, slots: _Slots) -> None:
    devices = _numbered(keys, "passthru{}")
    before, function = "", 0
    for device in devices:
        source, equals, place = device.partition("=")
        entry: Document = {"device": "passthru", "slot": "", "src": source.replace("/", ":")}
        if equals:
            entry["slot"] = f"{slots.bus}:{place}" if place.count(":") == 1 else f"{slots.bus}:{place}:0"
        else:
            bus = source.partition("/")[0]
            if before and before != bus:
                slots.next_slot()
                function = 0
            entry["slot"] = slots.here(function)
            before, function = bus, function + 1
        draft.emulations.append(entry)
    if devices:
        slots.next_slot()
        draft.document["wire_guest_mem"] = True


def _screen(draft: Draft, keys: _Keys, slots: _Slots, *, is_uefi: bool) -> None:
    wanted = keys.is_on("graphics")
    host, resolution = keys.get("graphics_listen") or "0.0.0.0", keys.get("graphics_res")  # noqa: S104 - as found
    port, vga, password = keys.get("graphics_port"), keys.get("graphics_vga"), keys.get("vnc_password")
    wait = keys.get("graphics_wait", "auto")
    has_mouse = keys.is_on("xhci_mouse")
    if wanted and not is_uefi:
        draft.note("It has no screen: vm-bhyve gives one to guests with UEFI only.")
    if wanted and is_uefi:
        graphic: Document = {"host": host, "port": _number(draft, keys, "graphics_port", 5900)}
        if not port:
            draft.note("Its VNC port was chosen at each start; 5900 was put in.")
        match = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", resolution)
        if match:
            graphic |= {"width": int(match[1]), "height": int(match[2])}
        elif resolution:
            draft.problem("graphic", f"graphics_res: {resolution!r} is not a size such as 1024x768.")
        graphic |= {"vga": vga} if vga else {}
        graphic |= {"password": draft.screen_password(password)} if password else {}
        # "auto" waits during an installation only.
        graphic |= {"wait": True} if wait.lower() not in _NO | {"auto"} else {}
        draft.document["graphic"] = {**graphic, "xhci_table": False, "slot": slots.take()}
    if has_mouse and wanted and is_uefi:
        draft.document["graphic"] |= {"xhci_table": True, "xhci_slot": slots.take()}
    elif has_mouse:
        draft.emulations.append({"device": "xhci", "slot": slots.take()})


def _sound(draft: Draft, keys: _Keys, slots: _Slots) -> None:
    play, rec = keys.get("sound_play", "/dev/dsp0"), keys.get("sound_rec")
    if keys.is_on("sound"):
        entry: Document = {"device": "hda", "slot": slots.take(), "play": play}
        draft.emulations.append(entry | ({"rec": rec} if rec else {}))


def _consoles(draft: Draft, keys: _Keys, slots: _Slots) -> None:
    names = [
        str(number) if name.lower() in {"yes", "on", "1"} else name
        for number, name in enumerate(_numbered(keys, "virt_console{}")[:16])
    ]
    if names:
        ports = [{"name": name, "path": draft.path(f"vtcon.{name}")} for name in names]
        draft.emulations.append({"device": "virtio-console", "slot": slots.take(), "ports": ports})


def _limits(draft: Draft, keys: _Keys) -> None:
    if keys.get("priority"):
        text = keys.get("priority")
        draft.document["nice"] = int(text) if re.fullmatch(r"-?[0-9]{1,2}", text) else text
    limits: Document = {}
    for key, limit in (
        ("limit_pcpu", "pcpu"),
        ("limit_rbps", "readbps"),
        ("limit_wbps", "writebps"),
        ("limit_riops", "readiops"),
        ("limit_wiops", "writeiops"),
    ):
        text = keys.get(key)
        if text:
            limits[limit] = numeral(text.upper())
    if limits:
        draft.document["limits"] = limits
