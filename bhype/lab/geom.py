"""geom(8): ``geom disk list`` and ``geom disk status`` (list_one_geom() in sbin/geom/core/geom.c)."""

from __future__ import annotations

from bhype.lab import core, disks

USAGE = (
    "usage: geom <class> help\n       geom <class> list [-a] [name ...]\n       geom <class> status [-ags] [name ...]\n"
    "       geom <class> load [-v]\n       geom <class> unload [-v]\n       geom -p <provider>\n       geom -t"
)


def main(argv: list[str]) -> int:
    core.fault(" ".join(["geom", *argv]))
    if len(argv) < 2:
        core.fail(USAGE)
    if argv[0].lower() != "disk":
        core.fail(f"geom: Invalid class name '{argv[0]}'.")
    if argv[1] not in ("list", "status"):
        core.fail(f"geom: Unknown command: {argv[1]}.")
    try:
        _, names = core.getopt(argv[2:], "ags")
    except core.BadOption:
        core.fail("geom: Invalid usage.")
    found = disks.present()
    for name in names:
        if name.removeprefix("/dev/") not in found:
            core.fail(f"geom: No such geom: {name}.")
    chosen = [name.removeprefix("/dev/") for name in names] or list(found)
    if argv[1] == "status":
        print(f"{'Name':>5}  Status  Components")
        for name in chosen:
            print(f"{name:>5}     N/A  N/A")
        return 0
    modes = disks.modes(found)
    for name in chosen:
        print(_block(name, found[name], modes[name]))
    return 0


def _block(name: str, disk: disks.Disk, mode: str) -> str:
    rotating = bool(disk["rpm"])
    nvme = disk["driver"] == "nda"
    lines = [f"Geom name: {name}", "Providers:", f"1. Name: {name}"]
    lines += [
        f"   Mediasize: {disk['size']} ({disks.human(disk['size'])})",
        f"   Sectorsize: {disk['sector']}",
    ]
    if disk["stripe"]:
        lines += [f"   Stripesize: {disk['stripe']}", "   Stripeoffset: 0"]
    lines += [f"   Mode: {mode}", f"   descr: {disks.description(disk)}"]
    lines += [f"   lunid: {disks.lunid(disk)}", f"   ident: {disk['serial']}"]
    lines += [f"   rotationrate: {disk['rpm'] if rotating else 0}"]
    lines += [f"   fwsectors: {0 if nvme else 63}", f"   fwheads: {0 if nvme else 255}"]
    return "\n".join(lines) + "\n"
