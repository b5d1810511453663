"""DES (FIPS 46-3), one block at a time: what RFB takes for passwords (RFC 6143 7.2.2). It protects nothing else."""

from __future__ import annotations

# The tables of DES (FIPS 46-3), numbered from 1 at the most significant bit; the S-boxes row after row.
_INITIAL = [row - 8 * column for row in (58, 60, 62, 64, 57, 59, 61, 63) for column in range(8)]
_EXPAND = [(4 * block + bit - 1) % 32 + 1 for block in range(8) for bit in range(6)]
_PERMUTE = [
    16, 7, 20, 21, 29, 12, 28, 17, 1, 15, 23, 26, 5, 18, 31, 10,
    2, 8, 24, 14, 32, 27, 3, 9, 19, 13, 30, 6, 22, 11, 4, 25,
]  # fmt: skip
_CHOICE_1 = [
    57, 49, 41, 33, 25, 17, 9, 1, 58, 50, 42, 34, 26, 18, 10, 2, 59, 51, 43, 35, 27, 19, 11, 3, 60, 52, 44, 36,
    63, 55, 47, 39, 31, 23, 15, 7, 62, 54, 46, 38, 30, 22, 14, 6, 61, 53, 45, 37, 29, 21, 13, 5, 28, 20, 12, 4,
]  # fmt: skip
_CHOICE_2 = [
    14, 17, 11, 24, 1, 5, 3, 28, 15, 6, 21, 10, 23, 19, 12, 4, 26, 8, 16, 7, 27, 20, 13, 2,
    41, 52, 31, 37, 47, 55, 30, 40, 51, 45, 33, 48, 44, 49, 39, 56, 34, 53, 46, 42, 50, 36, 29, 32,
]  # fmt: skip
_BOXES = (
    "e4d12fb83a6c59070f74e2d1a6cb953841e8d62bfc973a50fc8249175b3ea06d",
    "f18e6b34972dc05a3d47f28ec01a69b50e7ba4d158c6932fd8a13f42b67c05e9",
    "a09e63f51dc7b428d709346a285ecbf1d6498f30b12c5ae71ad069874fe3b52c",
    "7de3069a1285bc4fd8b56f03472c1ae9a690cb7df13e52843f06a1d8945bc72e",
    "2c417ab6853fd0e9eb2c47d150fa3986421bad78f9c5630eb8c71e2d6f09a453",
    "c1af92680d34e75baf427c9561de0b389ef528c3704a1db6432c95fabe17608d",
    "4b2ef08d3c975a61d0b7491ae35c2f8614bdc37eaf6805926bd814a7950fe23c",
    "d2846fb1a93e50c71fd8a374c56b0e927b419ce206adf35821e74a8dfc90356b",
)
_SHIFTS = (1, 1, 2, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2, 2, 1)

Bits = list[int]


def encrypt(key: bytes, block: bytes) -> bytes:
    """Encrypt one block of 8 bytes with a key of 8 bytes, of which the lowest bits do not count."""
    halves = _pick(_bits(key), _CHOICE_1)
    left_key, right_key = halves[:28], halves[28:]
    bits = _pick(_bits(block), _INITIAL)
    left, right = bits[:32], bits[32:]
    for shift in _SHIFTS:
        left_key, right_key = left_key[shift:] + left_key[:shift], right_key[shift:] + right_key[:shift]
        left, right = right, _xor(left, _round(right, _pick(left_key + right_key, _CHOICE_2)))
    final = [0] * 64
    for place, source in enumerate(_INITIAL):
        final[source - 1] = (right + left)[place]
    return int("".join(map(str, final)), 2).to_bytes(8, "big")


def _bits(data: bytes) -> Bits:
    return [byte >> shift & 1 for byte in data for shift in range(7, -1, -1)]


def _pick(bits: Bits, table: list[int]) -> Bits:
    return [bits[place - 1] for place in table]


def _xor(one: Bits, other: Bits) -> Bits:
    return [a ^ b for a, b in zip(one, other, strict=True)]


def _round(half: Bits, key: Bits) -> Bits:
    mixed = _xor(_pick(half, _EXPAND), key)
    found: Bits = []
    for number, box in enumerate(_BOXES):
        a, b, c, d, e, f = mixed[6 * number : 6 * number + 6]
        value = int(box[(a << 1 | f) * 16 + (b << 3 | c << 2 | d << 1 | e)], 16)
        found += [value >> shift & 1 for shift in (3, 2, 1, 0)]
    return _pick(found, _PERMUTE)
