"""Looking for words in a log, from its end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bhype.vmrun import search
from bhype.vmrun.search import find


def plain(content: bytes, text: str) -> list[tuple[int, str]]:
    """The same in the simplest way."""
    found, offset = [], 0
    for line in content.removesuffix(b"\n").split(b"\n") if content else []:
        if text.encode().lower() in line.lower():
            found.append((offset, line.decode("utf-8", "replace").rstrip("\r")))
        offset += len(line) + 1
    return found[::-1]


@given(
    st.lists(
        st.sampled_from([b"login:", b"LOGIN", b"", b"x" * 9, b"\xff\xfe", b"kernel panic\r"]), max_size=30
    ),
    st.sampled_from([b"", b"\n"]),
    st.sampled_from(["login", "panic", "", "\u00e4"]),
    st.integers(1, 70),
)
def test_it_finds_what_a_plain_search_finds(tmp_path_factory, lines, end, text, block):
    path = tmp_path_factory.mktemp("log") / "serial1.log"
    content = b"\n".join(lines) + end
    path.write_bytes(content)
    kept, search.BLOCK = search.BLOCK, block
    try:
        found = find(str(path), text, 1000)
    finally:
        search.BLOCK = kept
    # Below the longest line nothing is cut, unless blocks are smaller than a line: then pieces are found.
    if block >= 12:
        assert [(one.offset, one.line) for one in found] == plain(content, text)


def test_the_newest_come_first_and_not_more_than_asked_for(tmp_path):
    path = tmp_path / "log"
    path.write_text("".join(f"line {number}\n" for number in range(50_000)))
    assert [one.line for one in find(str(path), "LINE", 3)] == ["line 49999", "line 49998", "line 49997"]
    assert [one.line for one in find(str(path), "line 7\n"[:-1], 10**6)][-1] == "line 7"


def test_a_line_without_end_is_cut(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"a" * 1_000_000 + b"needle" + b"b" * 10)
    found = find(str(path), "needle")
    assert len(found) == 1
    assert len(found[0].line) <= search.LONGEST


def test_a_missing_log_has_no_lines(tmp_path):
    assert find(str(tmp_path / "none"), "x") == []
