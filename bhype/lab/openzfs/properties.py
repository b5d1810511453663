"""The native properties of datasets: which there are, for whom, and which values they take (zfsprops(7))."""

from __future__ import annotations

from bhype.lab.openzfs import names, sizes

F, V, S, B = "filesystem", "volume", "snapshot", "bookmark"
ALL = (F, V, S)
ON_OFF = ("on", "off")
CHECKSUMS = (
    "on",
    "off",
    "fletcher2",
    "fletcher4",
    "sha256",
    "noparity",
    "sha512",
    "skein",
    "edonr",
    "blake3",
)
COMPRESSIONS = (
    *("on", "off", "lzjb", "gzip", *(f"gzip-{level}" for level in range(1, 10)), "zle", "lz4", "zstd"),
    *(f"zstd-{level}" for level in range(1, 20)),
    "zstd-fast",
    *(f"zstd-fast-{level}" for level in (*range(1, 11), *range(20, 101, 10), 500, 1000)),
)
COMPRESSION_HELP = (
    "on | off | lzjb | gzip | gzip-[1-9] | zle | lz4 | zstd | zstd-[1-19] | "
    "zstd-fast | zstd-fast-[1-10,20,30,40,50,60,70,80,90,100,500,1000]"
)
CHECKSUM_HELP = "on | off | fletcher2 | fletcher4 | sha256 | sha512 | skein | edonr | blake3"
DEDUPS = (
    *("on", "off", "verify", "sha256", "sha256,verify", "sha512", "sha512,verify"),
    *("skein", "skein,verify", "edonr,verify", "blake3", "blake3,verify"),
)
DEDUP_HELP = (
    "on | off | verify | sha256[,verify] | sha512[,verify] | skein[,verify] | edonr,verify | blake3[,verify]"
)
SUITES = ("on", "off", *(f"aes-{bits}-{mode}" for mode in ("ccm", "gcm") for bits in (128, 192, 256)))
SUITE_HELP = " | ".join(SUITES)
UNLIMITED = 2**64 - 1
VOLBLOCKSIZE = 16384


class Property:
    """One native property.

    kind: "size" and "count" are integers, "index" is one of ``values``, "string" is free text.
    edit: "always", "once" (at creation only) or "never".
    right: its column in a list is right-aligned.
    """

    __slots__ = ("column", "default", "edit", "help", "inherits", "kind", "name", "right", "types", "values")

    def __init__(
        self,
        name: str,
        column: str,
        kind: str,
        types: tuple[str, ...],
        default: str = "",
        *,
        values: tuple[str, ...] = (),
        help: str = "",
        edit: str = "always",
        inherits: bool = False,
    ) -> None:
        self.name = name
        self.column = column
        self.kind = kind
        self.types = types
        self.default = default
        self.values = values
        self.help = help or " | ".join(values)
        self.edit = edit
        self.inherits = inherits
        self.right = kind in ("size", "count", "ratio")

    @property
    def width(self) -> int:
        """The least width of its column: any value of a fixed kind fits (zprop_width() in zfs_prop.c)."""
        if self.kind in ("size", "count"):
            return max(5, len(self.column))
        return max(len(self.column), *map(len, self.values)) if self.values else len(self.column)


TABLE: dict[str, Property] = {}


def _add(
    name: str, column: str, kind: str, types: tuple[str, ...], default: str = "", **more: object
) -> None:
    TABLE[name] = Property(name, column, kind, types, default, **more)  # type: ignore[arg-type]


def _fixed(name: str, column: str, kind: str, types: tuple[str, ...]) -> None:
    _add(name, column, kind, types, edit="never")


def _choice(
    name: str,
    types: tuple[str, ...],
    values: tuple[str, ...],
    default: str,
    column: str = "",
    **more: object,
) -> None:
    _add(name, column or name.upper(), "index", types, default, values=values, **{"inherits": True, **more})


_fixed("name", "NAME", "string", ALL)
_add("type", "TYPE", "string", ALL, values=(F, S, V, B), edit="never")
_fixed("creation", "CREATION", "string", ALL)
_fixed("used", "USED", "size", ALL)
_fixed("available", "AVAIL", "size", (F, V))
_fixed("referenced", "REFER", "size", ALL)
_fixed("compressratio", "RATIO", "ratio", ALL)
_fixed("mounted", "MOUNTED", "string", (F,))
_fixed("origin", "ORIGIN", "string", (F, V))
_add("quota", "QUOTA", "size", (F,), "0")
_add("reservation", "RESERV", "size", (F, V), "0")
_add("volsize", "VOLSIZE", "size", (V, S))
_add("volblocksize", "VOLBLOCK", "size", (V,), str(VOLBLOCKSIZE), edit="once")
_add("recordsize", "RECSIZE", "size", (F,), "131072", inherits=True)
_add("mountpoint", "MOUNTPOINT", "string", (F,), "/", inherits=True)
_add("sharenfs", "SHARENFS", "string", (F,), "off", inherits=True)
_choice("checksum", (F, V), CHECKSUMS, "on", help=CHECKSUM_HELP)
_choice("compression", (F, V), COMPRESSIONS, "on", "COMPRESS", help=COMPRESSION_HELP)
_choice("atime", (F,), ON_OFF, "on")
_choice("devices", (F, S), ON_OFF, "on")
_choice("exec", (F, S), ON_OFF, "on")
_choice("setuid", (F, S), ON_OFF, "on")
_choice("readonly", (F, V), ON_OFF, "off", "RDONLY")
_choice("jailed", (F,), ON_OFF, "off")
_choice("snapdir", (F,), ("hidden", "visible", "disabled"), "hidden", help="disabled | hidden | visible")
_choice("aclmode", (F,), ("discard", "groupmask", "passthrough", "restricted"), "discard")
_choice(
    "aclinherit", (F,), ("discard", "noallow", "restricted", "passthrough", "passthrough-x"), "restricted"
)
_fixed("createtxg", "CREATETXG", "count", ALL)
_choice("canmount", (F,), ("on", "off", "noauto"), "on", inherits=False)
_choice("xattr", (F, S), ("on", "off", "dir", "sa"), "on", help="on | off | dir | sa")
_choice("copies", (F, V), ("1", "2", "3"), "1")
_choice("version", (F, S), ("1", "2", "3", "4", "5", "current"), "5", inherits=False)
_choice("utf8only", (F, S), ON_OFF, "off", inherits=False, edit="once")
_choice(
    *("normalization", (F, S), ("none", "formC", "formD", "formKC", "formKD"), "none"),
    inherits=False,
    edit="once",
)
_choice(
    *("casesensitivity", (F, S), ("sensitive", "insensitive", "mixed"), "sensitive", "CASE"),
    inherits=False,
    edit="once",
)
_choice("vscan", (F,), ON_OFF, "off")
_choice("nbmand", (F, S), ON_OFF, "off")
_add("sharesmb", "SHARESMB", "string", (F,), "off", inherits=True)
_add("refquota", "REFQUOTA", "size", (F,), "0")
_add("refreservation", "REFRESERV", "size", (F, V), "0")
_fixed("guid", "GUID", "count", ALL)
_choice("primarycache", (F, V, S), ("all", "none", "metadata"), "all", "PRIMARYCACHE")
_choice("secondarycache", (F, V, S), ("all", "none", "metadata"), "all", "SECONDARYCACHE")
_fixed("usedbysnapshots", "USEDSNAP", "size", (F, V))
_fixed("usedbydataset", "USEDDS", "size", (F, V))
_fixed("usedbychildren", "USEDCHILD", "size", (F, V))
_fixed("usedbyrefreservation", "USEDREFRESERV", "size", (F, V))
_choice("logbias", (F, V), ("latency", "throughput"), "latency")
_fixed("objsetid", "OBJSETID", "count", ALL)
_choice("dedup", (F, V), DEDUPS, "off", help=DEDUP_HELP)
_choice("sync", (F, V), ("standard", "always", "disabled"), "standard")
_choice("dnodesize", (F,), ("legacy", "auto", "1k", "2k", "4k", "8k", "16k"), "legacy", "DNSIZE")
_fixed("refcompressratio", "REFRATIO", "ratio", ALL)
_fixed("written", "WRITTEN", "size", ALL)
_fixed("logicalused", "LUSED", "size", (F, V))
_fixed("logicalreferenced", "LREFER", "size", ALL)
_choice(
    *("volmode", (F, V), ("default", "full", "geom", "dev", "none"), "default"),
    help="default | full | geom | dev | none",
)
_add("filesystem_limit", "FSLIMIT", "count", (F,), str(UNLIMITED))
_add("snapshot_limit", "SSLIMIT", "count", (F, V), str(UNLIMITED))
_choice("snapdev", (F, V), ("hidden", "visible"), "hidden")
_choice("acltype", (F, S), ("off", "nfsv4", "posix"), "nfsv4")
_choice("redundant_metadata", (F, V), ("all", "most", "some", "none"), "all", "REDUND_MD")
_add("special_small_blocks", "SPECIAL_SMALL_BLOCKS", "size", (F,), "0", inherits=True)
_choice("prefetch", ALL, ("none", "metadata", "all"), "all")
_choice("encryption", ALL, SUITES, "off", edit="once", help=SUITE_HELP)
_add("keylocation", "KEYLOCATION", "string", (F, V), "none")
_choice("keyformat", (F, V), ("none", "raw", "hex", "passphrase"), "none", inherits=False, edit="once")
_add("pbkdf2iters", "PBKDF2ITERS", "count", (F, V), "0", edit="once")
_fixed("encryptionroot", "ENCROOT", "string", ALL)
_fixed("keystatus", "KEYSTATUS", "string", ALL)
_fixed("clones", "CLONES", "string", (S,))
_fixed("defer_destroy", "DEFER_DESTROY", "string", (S,))
_fixed("userrefs", "USERREFS", "count", (S,))
_fixed("snapshots_changed", "SNAPSHOTS_CHANGED", "string", (F, V))
_fixed("receive_resume_token", "RESUMETOK", "string", (F, V))

ALIASES = {
    **{"avail": "available", "refer": "referenced", "lrefer": "logicalreferenced", "lused": "logicalused"},
    **{"ratio": "compressratio", "refratio": "refcompressratio", "reserv": "reservation"},
    **{"refreserv": "refreservation", "volblock": "volblocksize", "recsize": "recordsize"},
    **{"compress": "compression", "rdonly": "readonly", "case": "casesensitivity", "enckey": "encryption"},
    **{"usedsnap": "usedbysnapshots", "usedds": "usedbydataset", "usedchild": "usedbychildren"},
    **{"usedrefreserv": "usedbyrefreservation", "zoned": "jailed", "normalisation": "normalization"},
}
OF_BOOKMARKS = ("name", "type", "creation", "createtxg", "guid", "referenced")
SPACE_COLUMNS = (
    *("name", "available", "used", "usedbysnapshots", "usedbydataset", "usedbyrefreservation"),
    "usedbychildren",
)
KEY_PLACES = ("file:///", "https://", "http://")
ENCRYPTION = ("encryption", "keyformat", "keylocation", "pbkdf2iters")


class BadProperty(ValueError):
    """A property or value that libzfs refuses; the message is its reason."""


def full_name(name: str) -> str:
    """The property's name for an alias (``avail``) or any spelling of a user property; else unchanged."""
    return ALIASES.get(name, name)


def exists(name: str) -> bool:
    return name in TABLE or names.is_user_property(name) or (name.startswith("written@") and len(name) > 8)


def parse(name: str, value: str, kind: str, *, creating: bool, volsize: int = 0) -> str:
    """The value to store for property ``name`` of a dataset of type ``kind``; raises BadProperty.

    Follows zfs_valid_proplist() and zprop_parse_value() in libzfs. Sizes come back as plain bytes.
    """
    if names.is_user_property(name):
        if len(name) > 255:
            raise BadProperty(f"property name '{name}' is too long")
        if len(value.encode(errors="surrogateescape")) >= 8192:
            raise BadProperty("property value too long")
        return value
    if kind == S:
        raise BadProperty("this property can not be modified for snapshots")
    entry = TABLE.get(name)
    if entry is None:
        raise BadProperty(f"invalid property '{name}'")
    if kind not in entry.types:
        raise BadProperty(f"'{name}' does not apply to datasets of this type")
    if entry.edit == "never" or (entry.edit == "once" and not creating):
        raise BadProperty(f"'{name}' is readonly")
    if entry.kind in ("size", "count"):
        return str(_number(name, value, kind, volsize))
    if entry.kind == "index":
        if value not in entry.values:
            raise BadProperty(f"'{name}' must be one of '{entry.help}'")
        return value
    if name == "keylocation" and value not in ("none", "prompt") and not value.startswith(KEY_PLACES):
        raise BadProperty("invalid keylocation")
    if name == "mountpoint" and value not in ("none", "legacy") and not value.startswith("/"):
        raise BadProperty("'mountpoint' must be an absolute path, 'none', or 'legacy'")
    return value


def _number(name: str, value: str, kind: str, volsize: int) -> int:
    if value == "auto":
        if name != "refreservation":
            raise BadProperty(f"'auto' is invalid value for '{name}'")
        if kind != V:
            raise BadProperty("'refreservation=auto' only allowed on volumes")
        return reservation_for(volsize)
    if value == "none":
        return UNLIMITED if name.endswith("_limit") else 0
    try:
        number = sizes.parse(value)
    except sizes.BadSize as error:
        raise BadProperty(str(error)) from None
    if name == "pbkdf2iters" and number < 100000:
        raise BadProperty("minimum pbkdf2 iterations is 100000")
    if number == 0 and name in ("quota", "refquota"):
        raise BadProperty("use 'none' to disable quota/refquota")
    if name in ("volblocksize", "recordsize"):
        most = 16 * 1024**2
        if number < 512 or number > most or number & (number - 1):
            raise BadProperty(f"'{name}' must be power of 2 from 512B to {sizes.human(most)}")
    if kind == V and volsize and name == "reservation" and number > volsize:
        raise BadProperty(f"'{name}' is greater than current volume size")
    return number


def reservation_for(volsize: int, blocksize: int = VOLBLOCKSIZE) -> int:
    """Bytes that a volume which can always be written whole reserves (zvol_volsize_to_reservation())."""
    blocks = volsize // blocksize
    indirect = 7
    while blocks > 1:
        blocks = (blocks + 1023) // 1024
        indirect += blocks
    return volsize + indirect * 2 * 128 * 1024
