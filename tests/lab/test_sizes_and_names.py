"""Sizes, names and property values as OpenZFS has them (zfs.md sections 2, 3 and 5)."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhype.lab.openzfs import names, properties, sizes

GOOD = string.ascii_letters + string.digits + "-_.: "


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0B"),
        (512, "512B"),
        (98304, "96K"),
        (1024**3, "1G"),
        (1610612736, "1.50G"),
        (10239, "10.0K"),
        (10240, "10K"),
        (4831838208, "4.50G"),
        (98784247808, "92G"),
        (1023 * 1024 + 1, "1023K"),
        (2**64 - 1, "16.0E"),
    ],
)
def test_it_writes_sizes_as_zfs_does(number, text):
    assert sizes.human(number) == text


@given(st.integers(min_value=0, max_value=2**64 - 1))
def test_a_human_size_is_short_and_near(number):
    text = sizes.human(number)
    assert len(text) <= 5
    assert abs(sizes.parse(text) - number) <= max(number * 0.006, 0) if text != "16.0E" else number > 2**63


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(("20G", 20 * 2**30), ("10240M", 10 * 2**30), ("1536", 1536), ("1.5T", 3 * 2**39)),
        *(("4kb", 4096), ("4KiB", 4096), ("7B", 7), (".5G", 2**29), ("1g", 2**30)),
    ],
)
def test_it_reads_sizes_as_zfs_does(text, number):
    assert sizes.parse(text) == number


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("xG", "bad numeric value 'xG'"),
        ("", "bad numeric value ''"),
        ("-1", "bad numeric value '-1'"),
        ("5Q", "invalid numeric suffix 'Q'"),
        ("5BB", "invalid numeric suffix 'BB'"),
        ("99999999999999999999", "numeric value is too large"),
        ("16E", "numeric value is too large"),
    ],
)
def test_it_refuses_sizes_with_libzfs_reason(text, reason):
    with pytest.raises(sizes.BadSize) as error:
        sizes.parse(text)
    assert str(error.value) == reason


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("tank/a b", ""),
        ("tank/a:b_c.d-e", ""),
        ("tank/" + "a" * 250, ""),
        ("tank/" + "a" * 251, "name is too long"),
        ("tank/a b*", "invalid character '*' in name"),
        ("tank/a%b", "invalid character % in name"),
        ("/tank/a", "leading slash in name"),
        ("tank/a/", "trailing slash in name"),
        ("tank//a", "empty component or misplaced '@' or '#' delimiter in name"),
        ("", "empty component or misplaced '@' or '#' delimiter in name"),
        ("tank/.", "self reference, '.' is found in name"),
        ("tank/../x", "parent reference, '..' is found in name"),
        ("tank/a@b", "snapshot delimiter '@' is not expected here"),
        ("tank/a#b", "bookmark delimiter '#' is not expected here"),
        ("tank" + "/a" * 50, "maximum name nesting depth exceeded"),
    ],
)
def test_it_judges_the_name_of_a_new_dataset(name, reason):
    assert names.reason(name, snapshot=False, creating=True) == reason


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("tank/a@s", ""),
        ("tank/a", "missing '@' delimiter in snapshot name"),
        ("tank/a@b@c", "multiple '@' and/or '#' delimiters in name"),
        ("tank/a@", "empty component or misplaced '@' or '#' delimiter in name"),
        ("@s", "empty component or misplaced '@' or '#' delimiter in name"),
        ("tank/a@b/c", "trailing slash in name"),
    ],
)
def test_it_judges_the_name_of_a_new_snapshot(name, reason):
    assert names.reason(name, snapshot=True, creating=True) == reason


@given(st.lists(st.text(alphabet=GOOD, min_size=1, max_size=20), min_size=1, max_size=6))
def test_a_name_of_allowed_characters_is_good_unless_dots(parts):
    expected = any(part in (".", "..") for part in parts)
    assert bool(names.reason("/".join(["tank", *parts]), snapshot=False, creating=True)) is expected


@given(st.text(min_size=1, max_size=30).filter(lambda text: set(text) - set(GOOD + "/@#%")))
def test_any_other_character_is_refused(text):
    assert names.reason(f"tank/{text}", snapshot=None, creating=True)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("tank", ""),
        ("9tank", "name must begin with a letter"),
        ("mirror1", "name is reserved"),
        ("log", "name is reserved"),
        ("c0", ""),
        ("a*", "invalid character '*' in pool name"),
    ],
)
def test_it_judges_the_name_of_a_new_pool(name, reason):
    assert names.pool_reason(name) == reason


def test_a_reservation_for_a_volume_covers_its_metadata():
    # zfs(8) shows 1.03G for a volume of 1G with blocks of 8K.
    assert sizes.human(properties.reservation_for(2**30, 8192)) == "1.03G"
    assert properties.reservation_for(2**30, 16384) > 2**30


@given(st.text(max_size=20), st.text(max_size=20), st.sampled_from(["filesystem", "volume", "snapshot"]))
def test_any_property_is_taken_or_refused_with_a_reason(name, value, kind):
    try:
        result = properties.parse(name, value, kind, creating=True)
    except properties.BadProperty as error:
        assert str(error)
    else:
        assert isinstance(result, str)
