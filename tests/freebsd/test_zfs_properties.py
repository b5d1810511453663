"""Properties, keys and removals of datasets: what reaches an argv, and what is read from an answer."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhype.freebsd import zfs_destroy, zfs_keys, zfs_properties
from bhype.freebsd.command import Command, ParseError, Query
from bhype.freebsd.names import BadName
from bhype.freebsd.zfs import DatasetInfo, Property

# As zfs(8) of FreeBSD 14 writes it, TABs between columns.
GOT = (
    "zroot/bhype\tcompression\tlocal\tzstd\n"
    "zroot/bhype\tquota\t-\t-\n"
    "zroot/bhype\torg.bhype:id\tlocal\tbhype\n"
    "zroot/bhype/vms\tcompression\tinherited from zroot/bhype\tzstd\n"
    "zroot/bhype/vms\tusedbysnapshots\t-\t4096\n"
    "zroot/bhype/vms/%recv\tcompression\tlocal\tlz4\n"
    "zroot/bhype/vms/a\torg.bhype:kept\tlocal\ta\tb\n"
)
KEYS = (
    "tank\tfilesystem\toff\t-\t-\tnone\tyes\t/tank\n"
    "tank/e\tfilesystem\taes-256-gcm\ttank/e\tunavailable\tprompt\tno\t/tank/e\n"
    "tank/e/v\tvolume\taes-256-gcm\ttank/e\tunavailable\tnone\t-\t-\n"
    "tank/k\tfilesystem\taes-256-gcm\ttank/k\tavailable\tfile:///root/k\tyes\tlegacy\n"
)


def words(command: Command | Query) -> str:
    return shlex.join((command.command if isinstance(command, Query) else command).argv)


def test_properties_are_read_with_their_source():
    found = zfs_properties.of_all("zroot/bhype").parse(GOT)
    assert found["zroot/bhype"] == {
        "compression": Property("zstd", "local"),
        "org.bhype:id": Property("bhype", "local"),
    }
    assert found["zroot/bhype/vms"]["compression"] == Property("zstd", "inherited from zroot/bhype")
    assert found["zroot/bhype/vms/a"]["org.bhype:kept"].value == "a\tb"
    assert not [name for name in found if "%" in name]
    assert zfs_properties.source_of("inherited from zroot/a b") == "zroot/a b"
    assert zfs_properties.source_of("local") == ""
    assert zfs_properties.first_local(found["zroot/bhype"], ["compression", "quota"]) == ["compression"]


@given(
    st.dictionaries(
        st.tuples(st.sampled_from(["t/a", "t/a/b", "t/c"]), st.sampled_from(sorted(zfs_properties.SETTINGS))),
        st.tuples(
            st.sampled_from(["local", "received", "inherited from t/a", "-"]),
            st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), min_size=1),
        ),
    )
)
def test_whatever_was_set_is_read_as_it_is(given_):
    text = "".join(f"{name}\t{key}\t{source}\t{value}\n" for (name, key), (source, value) in given_.items())
    found = zfs_properties.of_all("t").parse(text)
    expected: dict[str, dict[str, Property]] = {}
    for (name, key), (source, value) in given_.items():
        if value != "-":
            expected.setdefault(name, {})[key] = Property(value, source)
    assert {name: mine for name, mine in found.items() if mine} == expected


@given(st.text())
def test_other_answers_are_told_as_such(text):
    for query in (zfs_properties.of_all("t"), zfs_keys.status("t"), zfs_destroy.preview("t/a")):
        try:
            query.parse(text)
        except ParseError:
            continue


def test_all_properties_are_one_question():
    argv = words(zfs_properties.of_all("tank/bhype"))
    assert argv.startswith(
        "/sbin/zfs get -Hp -r -t filesystem,volume -s local,received,inherited,temporary,none -o "
    )
    assert argv.endswith(" tank/bhype") and ",org.bhype:id," in argv


def test_settings_are_set_at_once_and_checked():
    command = zfs_properties.set_several("tank/a", {"compression": "zstd", "quota": "1024"})
    assert words(command) == "/sbin/zfs set compression=zstd quota=1024 tank/a"
    for changes in (
        {},
        {"mountpoint": "/etc"},
        {"compression": "on x"},
        {"quota": "-1"},
        {"quota": "9" * 19 + "9"},
    ):
        with pytest.raises(BadName):
            zfs_properties.set_several("tank/a", changes)
    assert words(zfs_properties.set_several("tank/a", {"quota": "0"})) == "/sbin/zfs set quota=none tank/a"
    assert [setting.name for setting in zfs_properties.settings_of("volume")].count("atime") == 0


@given(st.sampled_from(sorted(zfs_properties.SETTINGS)), st.text(max_size=30))
def test_no_value_but_a_known_one_reaches_an_argv(key, value):
    setting = zfs_properties.SETTINGS[key]
    try:
        assert setting.check(value) in {value, "none"}
    except BadName:
        return
    assert value in setting.choices or (setting.is_size and value.isascii() and value.isdigit())


def test_a_passphrase_is_no_word_of_a_command():
    commands = (
        zfs_keys.create_filesystem("tank/a", "correct horse", {"org.bhype:id": "1"}),
        zfs_keys.create_volume("tank/a", 1 << 20, "correct horse"),
        zfs_keys.load("tank/a", "correct horse"),
        zfs_keys.check("tank/a", "correct horse"),
        zfs_keys.change("tank/a", "correct horse"),
    )
    for command in commands:
        assert command.stdin == b"correct horse\n" and "horse" not in words(command)
    assert words(commands[0]) == (
        "/sbin/zfs create -o encryption=aes-256-gcm -o keyformat=passphrase -o keylocation=prompt "
        "-o org.bhype:id=1 tank/a"
    )
    assert words(commands[1]).endswith("-s -o volmode=dev -V 1048576 tank/a")
    assert words(commands[2]) == "/sbin/zfs load-key tank/a"
    assert words(commands[3]) == "/sbin/zfs load-key -n tank/a"
    assert words(commands[4]) == "/sbin/zfs change-key -o keyformat=passphrase -o keylocation=prompt tank/a"
    assert zfs_keys.load("tank/a", None).stdin == zfs_keys.unload("tank/a").stdin == b""


@pytest.mark.parametrize("text", ["", "seven77", "x" * 513, "a line\nand more", "nul\0nul\0nul", "ä" * 257])
def test_what_zfs_would_take_for_another_passphrase_is_refused(text):
    with pytest.raises(BadName):
        zfs_keys.load("tank/a", text)


def test_keys_are_read():
    plain, root, volume, filed = zfs_keys.status("tank").parse(KEYS)
    assert (plain.cipher, plain.is_loaded, plain.root) == ("off", True, "")
    assert (root.cipher, root.is_loaded, root.root, root.location) == (
        "aes-256-gcm",
        False,
        "tank/e",
        "prompt",
    )
    assert (volume.is_loaded, volume.is_mounted, volume.mountpoint, volume.location) == (False, False, "", "")
    assert (filed.location, filed.mountpoint, filed.is_mounted) == ("file:///root/k", "", True)


def test_what_zfs_says_about_keys_is_understood():
    assert (
        zfs_keys.reason("Key load error: Incorrect key provided for 'tank/e'.") == "The passphrase is wrong."
    )
    assert zfs_keys.reason("Key unload error: 'tank/e' is busy.") == "Something on the host still uses it."
    assert zfs_keys.is_done_already("Key load error: Key already loaded for 'tank/e'.")
    assert zfs_keys.is_done_already("Key unload error: Key already unloaded for 'tank/e'.")
    assert zfs_keys.reason("something else") == "" and not zfs_keys.is_done_already("something else")


def test_a_removal_is_read():
    found = zfs_destroy.preview("tank/a").parse("destroy\ttank/a@s\ndestroy\ttank/a\nreclaim\t4096\n")
    assert (found.names, found.freed) == (["tank/a@s", "tank/a"], 4096)
    assert zfs_destroy.preview("tank/a").parse("destroy\ttank/a\n").freed is None
    assert words(zfs_destroy.preview("tank/a")) == "/sbin/zfs destroy -nvpR tank/a"
    with pytest.raises(BadName):
        zfs_destroy.preview("tank")


def info(name: str, origin: str | None = None) -> DatasetInfo:
    return DatasetInfo(name, "filesystem", 0, 0, 0, 0, None, origin, None)


@st.composite
def forests(draw):
    """Datasets below t/a, of which some are clones of earlier ones."""
    names, found = ["t/a"], [info("t/a")]
    for number in range(draw(st.integers(0, 9))):
        parent = draw(st.sampled_from(names))
        origin = draw(st.sampled_from([None, *names]))
        name = f"{parent}/d{number}"
        names.append(name)
        found.append(info(name, f"{origin}@s" if origin else None))
    return draw(st.permutations(found))


@given(forests())
def test_everything_goes_once_and_children_and_clones_go_first(found):
    order = zfs_destroy.order(found)
    assert sorted(order) == sorted(each.name for each in found)
    at = {name: number for number, name in enumerate(order)}
    for each in found:
        parent, origin = each.name.rpartition("/")[0], (each.origin or "").partition("@")[0]
        assert parent not in at or at[each.name] < at[parent]
        # A clone that lies in what it was made from is a child, too.
        assert origin not in at or at[each.name] < at[origin]
