"""The properties and features of pools: OpenZFS 2.2's tables (zpool_prop.c, zfeature_common.c), in its order."""

from __future__ import annotations

from bhype.lab.openzfs import names

# Name: column of a list.
COLUMNS = {
    **{"name": "NAME", "size": "SIZE", "capacity": "CAP", "altroot": "ALTROOT", "health": "HEALTH"},
    **{"guid": "GUID", "version": "VERSION", "bootfs": "BOOTFS", "delegation": "DELEGATION"},
    **{
        "autoreplace": "REPLACE",
        "cachefile": "CACHEFILE",
        "failmode": "FAILMODE",
        "listsnapshots": "LISTSNAPS",
    },
    **{"autoexpand": "EXPAND", "dedupratio": "DEDUP", "free": "FREE", "allocated": "ALLOC"},
    **{"readonly": "RDONLY", "ashift": "ASHIFT", "comment": "COMMENT", "expandsize": "EXPANDSZ"},
    **{"freeing": "FREEING", "fragmentation": "FRAG", "leaked": "LEAKED", "multihost": "MULTIHOST"},
    **{"checkpoint": "CKPOINT", "load_guid": "LOAD_GUID", "autotrim": "AUTOTRIM"},
    **{"compatibility": "COMPATIBILITY", "bcloneused": "BCLONE_USED", "bclonesaved": "BCLONE_SAVED"},
    "bcloneratio": "BCLONE_RATIO",
}
DEFAULT_COLUMNS = [
    *("name", "size", "allocated", "free", "checkpoint", "expandsize", "fragmentation", "capacity"),
    *("dedupratio", "health", "altroot"),
]
# With the default of each.
SETTABLE = {
    **{"ashift": "0", "autoexpand": "off", "autoreplace": "off", "autotrim": "off", "bootfs": "-"},
    **{"cachefile": "-", "comment": "-", "delegation": "on", "failmode": "wait", "listsnapshots": "off"},
    **{"multihost": "off", "compatibility": "off", "altroot": "-", "readonly": "off", "version": "-"},
}
CHOICES = {
    **dict.fromkeys(
        ("autoexpand", "autoreplace", "autotrim", "delegation", "listsnapshots", "multihost", "readonly"),
        ("on", "off"),
    ),
    "failmode": ("wait", "continue", "panic"),
}
# Left-aligned in lists: text and choices.
LEFT = frozenset({"name", "comment", "altroot", *SETTABLE} - {"ashift", "version"})
ALIASES = {
    **{"alloc": "allocated", "cap": "capacity", "frag": "fragmentation", "dedup": "dedupratio"},
    **{"ckpoint": "checkpoint", "expandsz": "expandsize", "rdonly": "readonly", "listsnaps": "listsnapshots"},
    **{"expand": "autoexpand", "replace": "autoreplace", "bclone_used": "bcloneused"},
    **{"bclone_saved": "bclonesaved", "bclone_ratio": "bcloneratio"},
}
# As they are in a new pool.
FEATURES = {
    **{"async_destroy": "enabled", "empty_bpobj": "active", "lz4_compress": "active"},
    **{"multi_vdev_crash_dump": "enabled", "spacemap_histogram": "active", "enabled_txg": "active"},
    **{"hole_birth": "active", "extensible_dataset": "active", "embedded_data": "active"},
    **{"bookmarks": "enabled", "filesystem_limits": "enabled", "large_blocks": "enabled"},
    **{"large_dnode": "enabled", "sha512": "enabled", "skein": "enabled", "edonr": "enabled"},
    **{"userobj_accounting": "active", "encryption": "enabled", "project_quota": "active"},
    **{"device_removal": "enabled", "obsolete_counts": "enabled", "zpool_checkpoint": "enabled"},
    **{"spacemap_v2": "active", "allocation_classes": "enabled", "resilver_defer": "enabled"},
    **{"bookmark_v2": "enabled", "redaction_bookmarks": "enabled", "redacted_datasets": "enabled"},
    **{"bookmark_written": "enabled", "log_spacemap": "active", "livelist": "enabled"},
    **{"device_rebuild": "enabled", "zstd_compress": "enabled", "draid": "enabled", "zilsaxattr": "enabled"},
    **{"head_errlog": "active", "blake3": "enabled", "block_cloning": "enabled", "vdev_zaps_v2": "active"},
}


class BadProperty(ValueError):
    """The value does not do; the message is libzfs's reason."""


def check(name: str, value: str, *, creating: bool = False, importing: bool = False) -> str:
    """The value of a property that is set, as it is kept. Raises BadProperty (zpool_valid_proplist())."""
    if ":" in name:
        if not names.is_user_property(name):
            raise BadProperty(f"invalid property '{name}'")
        return value
    if name.startswith("feature@"):
        if name[8:] not in FEATURES:
            raise BadProperty(f"feature '{name[8:]}' unsupported by kernel")
        if value not in ("enabled", "disabled"):
            raise BadProperty(f"property '{name}' can only be set to 'enabled' or 'disabled'")
        if value == "disabled" and not creating:
            raise BadProperty(f"property '{name}' can only be set to 'disabled' at creation time")
        return value
    if name not in COLUMNS:
        raise BadProperty(f"invalid property '{name}'")
    if name not in SETTABLE or name == "name":
        raise BadProperty(f"'{name}' is readonly")
    if name in CHOICES and value not in CHOICES[name]:
        raise BadProperty(f"'{name}' must be one of '{' | '.join(CHOICES[name])}'")
    match name:
        case "readonly" if not importing:
            raise BadProperty(f"property '{name}' can only be set at import time")
        case "altroot" if not (creating or importing):
            raise BadProperty(f"property '{name}' can only be set during pool creation or import")
        case "altroot" if not value.startswith("/"):
            raise BadProperty(f"bad alternate root '{value}'")
        case "ashift":
            if not value.isdigit():
                raise BadProperty(f"'{name}' must be a number")
            if int(value) != 0 and not 9 <= int(value) <= 16:
                raise BadProperty(
                    f"property '{name}' number {value} is invalid, only values between 9 and 16 are allowed."
                )
        case "comment":
            if len(value.encode()) > 32:
                raise BadProperty("comment must not exceed 32 characters")
            if not value.isprintable() or not value.isascii():
                raise BadProperty("comment may only have printable characters")
    return value
