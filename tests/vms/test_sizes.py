from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vms import sizes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2G", 2**31), ("2 GiB", 2**31), ("2048M", 2**31), ("2gb", 2**31), ("1.5g", 3 * 2**29), ("512", 512),
        ("0", 0), ("1T", 2**40), (4096, 4096), (" 7K ", 7 * 1024), ("10b", 10),
    ],
)  # fmt: skip
def test_it_reads_what_people_write(text, size):
    assert sizes.parse(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "G",
        "-1G",
        "1,5G",
        "2 G B",
        "0x10",
        "1e3",
        "2P",
        "1.5",
        "nan",
        "2G\n",
        "\uff12G",
        "1" * 16,
        "2G\0",
        "2\tG",
    ],
)
def test_it_refuses_what_is_no_size(text):
    with pytest.raises(sizes.BadSize):
        sizes.parse(text)


@given(st.integers(0, 10**15 - 1))
def test_it_reads_back_what_it_writes(size):
    assert sizes.parse(sizes.text(size)) == size


@given(st.text(max_size=20))
def test_any_text_is_a_size_or_refused(text):
    try:
        assert sizes.parse(text) >= 0
    except sizes.BadSize as refused:
        assert str(refused).endswith(".")
