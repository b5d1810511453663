"""What other tools' files become, against the command lines that those tools make of them (`cases/`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from bhype.foreign import detect, read
from bhype.freebsd import loaders
from bhype.vmrun.config import parse

from .same import lines, loading, of_document, variables

CASES = Path(__file__).parent / "cases"
ENDINGS = {
    "vm-bhyve": "conf",
    "hoster-core": "json",
    "libvirt": "xml",
    "vmrun": "json",
    "bhyve": "sh",
    "bhyve-config": "cfg",
}
FOLDERS = {"vm-bhyve": "/zroot/vm", "hoster-core": "/zroot/vm-encrypted"}
FOUND = [
    pytest.param(format, path, id=f"{format}-{path.stem}")
    for format, ending in ENDINGS.items()
    for path in sorted((CASES / format).glob(f"*.{ending}"))
]


def imported(format: str, path: Path):
    folder = f"{FOLDERS[format]}/{path.stem}" if format in FOLDERS else ""
    return read(format, path.read_text(), folder=folder, dataset=folder.lstrip("/"))


def test_there_are_enough_cases():
    assert len(FOUND) >= 60


@pytest.mark.parametrize(("format", "path"), FOUND)
def test_a_file_becomes_the_machine_that_its_own_tool_runs(format, path):
    found = imported(format, path)
    assert found.problems == ()
    *before, wanted = lines(path.with_suffix(".args").read_text())
    argv = of_document(found.document)
    expected, got = variables(wanted[1:]), variables(argv)
    if "uuid" not in " ".join(sorted(expected)):
        got = {line for line in got if not line.startswith("uuid=")}
    assert got == expected
    if before:
        program, options = loading(loaded(found.document))
        wanted_program, wanted_options = loading(before[0])
        if not any(flag == "-c" for flag, _ in wanted_options):
            # libvirt gives a loader no console, or only where it can.
            options = [(flag, value) for flag, value in options if flag != "-c"]
        assert (program, options) == (wanted_program, wanted_options)
    else:
        assert "loader" not in found.document


def loaded(document: dict) -> list[str]:
    """The command that loads the guest, with the folder that its own tool had."""
    config = parse(document)
    loader, console = config.loader, dict(config.com).get("com1", "stdio")
    if loader.type == "bhyveload":
        argv = loaders.bhyveload(
            config.name, memory=config.memory, disk=loader.disk, console=console,
            wired=config.flags["wire_guest_mem"], os_loader=loader.os_loader, environment=loader.env,
        ).argv  # fmt: skip
    else:
        root, directory = loader.root, loader.directory
        if loader.config is not None:
            root, directory = "host", f"/zroot/vm/{config.name}"
        argv = loaders.grub_bhyve(
            config.name, memory=config.memory, device_map=f"/zroot/vm/{config.name}/device.map", root=root,
            directory=directory, console=console, wired=config.flags["wire_guest_mem"],
        ).argv  # fmt: skip
    return list(argv)


@pytest.mark.parametrize(("format", "path"), FOUND)
def test_its_format_is_seen(format, path):
    assert detect(path.read_text()) == format


@pytest.mark.parametrize(
    ("format", "path"), [case for case in FOUND if case.values[1].with_suffix(".notes").exists()]
)
def test_what_is_left_out_or_changed_is_told(format, path):
    notes = imported(format, path).notes
    for wanted in path.with_suffix(".notes").read_text().splitlines():
        assert any(wanted in note for note in notes), notes
