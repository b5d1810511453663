"""The seed's ISO, read back by programs that others wrote."""

from __future__ import annotations

import io
import shutil
import subprocess

import pycdlib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bhype import cloudinit

NAMES = ["meta-data", "user-data", "network-config"]
FILES = st.dictionaries(
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True).filter(
        lambda name: name not in {".", ".."}
    ),
    st.binary(max_size=5000),
    max_size=40,
)


def run(*argv: object) -> str:
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def read_back(folder, image: bytes) -> dict[str, bytes]:
    path, out = folder / "seed.iso", folder / "out"
    path.write_bytes(image)
    shutil.rmtree(out, ignore_errors=True)
    text = run("xorriso", "-no_rc", "-osirrox", "on", "-indev", path, "-extract", "/", out)
    assert "FAILURE" not in text and "WARNING" not in text, text
    return {each.name: each.read_bytes() for each in out.iterdir()}


@pytest.fixture
def seed(tmp_path):
    path = tmp_path / "seed.iso"
    path.write_bytes(cloudinit.iso({name: name.encode() * 500 for name in NAMES}, "cidata"))
    return path


def test_the_label_is_as_it_was_given(seed):
    assert run("blkid", "-p", "-o", "value", "-s", "LABEL", seed).strip() == "cidata"
    assert run("blkid", "-p", "-o", "value", "-s", "TYPE", seed).strip() == "iso9660"


def test_rock_ridge_has_the_names_and_gives_them_to_root_alone(seed):
    listed = run("xorriso", "-no_rc", "-indev", seed, "-lsl", "/")
    for name in NAMES:
        assert f"'{name}'" in listed
    assert listed.count("-r--------") == 3
    assert (
        "Rock_Ridge" in run("xorriso", "-no_rc", "-indev", seed, "-toc_style", "long", "-pvd_info")
        or "'meta-data'" in listed
    )


@pytest.mark.parametrize(
    ("tree", "names"),
    [
        ("joliet_path", {"meta-data", "user-data", "network-config"}),
        ("rr_path", {"meta-data", "user-data", "network-config"}),
        ("iso_path", {"META_DAT.;1", "USER_DAT.;1", "NETWORK_.;1"}),
    ],
)
def test_each_tree_has_all_files(seed, tree, names):
    image = pycdlib.PyCdlib()
    image.open(str(seed))
    found = {}
    for child in image.list_children(**{tree: "/"}):
        if child.is_dot() or child.is_dotdot():
            continue
        raw = child.rock_ridge.name() if tree == "rr_path" else child.file_identifier()
        name = raw.decode("utf-16-be" if tree == "joliet_path" else "ascii")
        out = io.BytesIO()
        image.get_file_from_iso_fp(out, **{tree: f"/{name}"})
        found[name] = out.getvalue()
    assert set(found) == names and sorted(found.values()) == sorted(name.encode() * 500 for name in NAMES)
    image.close()


def test_the_same_files_give_the_same_bytes():
    files = {"meta-data": b"a", "user-data": b"b"}
    assert cloudinit.iso(files, "cidata") == cloudinit.iso(dict(reversed(files.items())), "cidata")
    assert cloudinit.iso(files, "cidata") != cloudinit.iso(files | {"user-data": b"c"}, "cidata")


@settings(max_examples=12)
@given(FILES)
def test_what_goes_in_comes_out(tmp_path_factory, files):
    folder = tmp_path_factory.mktemp("iso")
    assert read_back(folder, cloudinit.iso(files, "cidata")) == files


def test_a_folder_may_need_several_sectors(tmp_path):
    files = {f"a-rather-long-name-of-a-file-{number:03}.txt": str(number).encode() for number in range(200)}
    assert read_back(tmp_path, cloudinit.iso(files, "OEMDRV")) == files


def test_short_names_that_would_be_the_same_are_told_apart(tmp_path):
    files = {"user-data": b"1", "user-data-2": b"2", "user_data": b"3", "USER-DATA": b"4"}
    assert read_back(tmp_path, cloudinit.iso(files, "cidata")) == files


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "ä", "x" * 65, "a\n"])
def test_a_name_that_is_none_is_refused(name):
    with pytest.raises(ValueError):
        cloudinit.iso({name: b""}, "cidata")


@pytest.mark.parametrize("label", ["", "x" * 17, "ä", "a\n"])
def test_a_label_that_is_none_is_refused(label):
    with pytest.raises(ValueError):
        cloudinit.iso({}, label)
