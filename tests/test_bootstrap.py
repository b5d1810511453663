"""The commands of the README, as far as they can be tried without installing anything."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from bhype import appliance, bootstrap

BASE_DIR = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("program", ["make", "bmake"])
def test_both_kinds_of_make_read_the_makefile(program):
    assert shutil.which(program), f"{program} is not installed: apt-get install {program}"
    # Not as a make within the make that runs the tests.
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    result = subprocess.run(
        [program, "help"], cwd=BASE_DIR, env=clean, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == bootstrap.HELP


def test_every_target_is_explained_and_understood():
    makefile = (BASE_DIR / "Makefile").read_text()
    targets = set(
        re.search(r"^([\w -]+):\n\t@\$\(PYTHON\) bhype/bootstrap.py \$@", makefile, re.M)[1].split()
    )
    assert targets == {
        *("run", "demo", "test", "test-long", "explore", "bench", "check", "setup", "stop-vms"),
    }
    for target in targets:
        assert f"make {target}" in bootstrap.HELP
    with pytest.raises(SystemExit, match="no such target: nonsense"):
        bootstrap.main(["nonsense"])


def test_ci_calls_make_test():
    script = BASE_DIR / ".ci" / "run"
    assert "make test\n" in script.read_text()
    assert "make test-long" in script.read_text()
    assert script.stat().st_mode & stat.S_IXUSR


def test_roots_python_can_be_run_by_others():
    path = Path(bootstrap.python())
    probe = [str(path), "-c", "import sys; print(sys.version_info >= (3, 11))"]
    assert subprocess.run(probe, capture_output=True, text=True, check=True).stdout == "True\n"
    if os.geteuid() == 0:
        assert all(folder.stat().st_mode & stat.S_IXOTH for folder in path.parents)


def test_what_pages_tell_to_install_is_installed_on_freebsd():
    found = bootstrap.freebsd_packages(sys.executable)
    assert "py{}{}-sqlite3".format(*sys.version_info) in found
    rooms = ("bhype/vmrun", "bhype/hosts", "bhype/outside", "vms", "network", "storage")
    sources = (path for room in rooms for path in (BASE_DIR / room).rglob("*.py"))
    named = {name for path in sources for name in re.findall(r"pkg install ([a-z0-9-]+)", path.read_text())}
    # The old firmware that boots from a BIOS is for few.
    assert named - {"uefi-edk2-bhyve-csm"} <= found.keys()
    assert "edk2-bhyve" in named


def test_missing_packages_are_named_with_what_will_not_work(monkeypatch, capsys):
    monkeypatch.setattr(bootstrap, "IS_ROOT", False)
    bootstrap.install_packages({"no-such-package-here": "flying"})
    assert "not installed: no-such-package-here; without it there is no flying" in capsys.readouterr().out


def test_nothing_that_is_installed_is_taken_away_for_a_test(monkeypatch, tmp_path, capsys):
    """zfs-fuse and zfsutils-linux exclude each other, and somebody's pools may need the latter."""
    assert "zfs-fuse" in bootstrap.DEBIAN_TEST
    calls = tmp_path / "calls"
    for name, code in {"apt-get": f'echo "$@" >> {calls}; [ "$1" = update ]', "dpkg-query": "exit 1"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{code}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(bootstrap, "IS_ROOT", True)
    bootstrap.install_packages({"zfs-fuse": "quick test"})
    installs = [line for line in calls.read_text().splitlines() if line.startswith("install")]
    assert installs
    assert all("--no-remove" in line.split() for line in installs)
    assert "could not install zfs-fuse; without it there is no quick test" in capsys.readouterr().out


@pytest.fixture
def layout(tmp_path, monkeypatch):
    monkeypatch.setenv("BHYPE_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("BHYPE_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("BHYPE_USER", "nobody")
    monkeypatch.setenv("BHYPE_PORT", "9999")
    return appliance.Layout.from_environment()


def test_others_can_not_read_the_state(layout):
    (layout.state / "db").mkdir(parents=True)
    (layout.state / "db" / "bhype.sqlite3").touch()
    (layout.state / "secret.key").write_text("secret")
    appliance.prepare(layout)
    for path in [
        layout.state,
        layout.run,
        layout.state / "secret.key",
        layout.state / "db" / "bhype.sqlite3",
    ]:
        assert not path.stat().st_mode & stat.S_IRWXO, path


def test_only_web_and_gateway_drop_their_rights(layout):
    unprivileged = {service.name for service in appliance.services(layout) if service.unprivileged}
    assert unprivileged == {"web", "gateway"}


def test_it_names_the_folder_that_keeps_the_web_process_out(layout, tmp_path):
    appliance.prepare(layout)
    layout.privileged = True
    layout.state.chmod(0o700)
    os.chown(layout.state, 0, 0)
    found = appliance.unreachable(layout)
    assert found is not None and Path(found) in {layout.state, *layout.state.parents, *BASE_DIR.parents, BASE_DIR,
                                                 *Path(sys.executable).resolve().parents}  # fmt: skip


def test_the_address_is_one_that_a_browser_can_open(layout):
    assert layout.url == "http://127.0.0.1:9999"
    layout.bind = "0.0.0.0"
    assert layout.url == "http://127.0.0.1:9999"
    layout.bind = "::1"
    assert layout.url == "http://[::1]:9999"
