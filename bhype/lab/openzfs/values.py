"""The value and the source of a property, as ``zfs get`` prints them."""

from __future__ import annotations

from bhype.lab.openzfs import properties, sizes
from bhype.lab.openzfs.database import head
from bhype.lab.openzfs.properties import B
from bhype.lab.openzfs.space import Space
from bhype.lab.openzfs.store import F, S, Store, V

SPACE = {
    *("used", "available", "referenced", "usedbysnapshots", "usedbydataset", "usedbychildren"),
    *("usedbyrefreservation", "written", "logicalused", "logicalreferenced"),
}
NONE = ("-", "-")
# What those say that are not encrypted.
PLAIN = {"encryption": "off", "keyformat": "none", "keylocation": "none", "pbkdf2iters": "0"}
# The words of Linux for what is FreeBSD's.
WRITTEN = "written@"


class Values:
    """Reads properties; measures a pool only when somebody asks for space."""

    def __init__(self, store: Store, *, exact: bool) -> None:
        self.store = store
        self.exact = exact
        self._spaces: dict[str, Space] = {}

    def space(self, name: str) -> Space:
        pool = head(name).partition("/")[0]
        if pool not in self._spaces:
            self._spaces[pool] = Space(self.store, pool)
        return self._spaces[pool]

    def applies(self, name: str, prop: str) -> bool:
        row = self.store.datasets[name]
        entry = properties.TABLE.get(prop)
        if entry is None:
            return True
        if row["type"] == B:
            return prop in properties.OF_BOOKMARKS
        if row["type"] == S and prop == "volsize":
            return "volsize" in row
        return row["type"] in entry.types

    def get(self, name: str, prop: str) -> tuple[str, str]:
        """Value and source; ``("-", "-")`` where the property has none."""
        if not self.applies(name, prop):
            return NONE
        if prop.startswith(WRITTEN):
            return self._written(name, prop.removeprefix(WRITTEN))
        row = self.store.datasets[name]
        if prop in SPACE:
            number = row["referenced"] if row["type"] == B else self._room(name, prop)
            return self._size(number), "-"
        entry = properties.TABLE.get(prop)
        if entry is None:
            return NONE if row["type"] == B else self.store.lookup(name, prop)
        if prop in properties.ENCRYPTION:
            return self._crypt(name, prop)
        if entry.edit == "never":
            return self._fact(name, prop) or "-", "-"
        return self._setting(name, entry)

    def received(self, name: str, prop: str) -> str:
        """The value that came with a stream, also where another one hides it."""
        value: str | None = self.store.datasets[name].get("received", {}).get(prop)
        entry = properties.TABLE.get(prop)
        if value is not None and entry is not None and entry.kind == "size":
            return self._size(int(value))
        return "-" if value is None else value

    def user_properties(self, name: str) -> list[str]:
        """The user properties that have a value here."""
        found: dict[str, None] = {}
        above = name
        while above:
            row = self.store.datasets[above]
            found.update(
                dict.fromkeys(key for key in (*row["props"], *row.get("received", ())) if ":" in key)
            )
            above = head(above) if head(above) != above else above.rpartition("/")[0]
        return [prop for prop in found if self.store.lookup(name, prop) != NONE]

    def number(self, name: str, prop: str) -> int | None:
        """The property as an integer to sort by, None where it has none or is text."""
        entry = properties.TABLE.get(prop)
        if entry is None or (entry.kind not in ("size", "count") and prop != "creation"):
            return None
        exact, self.exact = self.exact, True
        value = self.get(name, prop)[0]
        self.exact = exact
        return int(value) if value.isdigit() else None

    def _size(self, number: int) -> str:
        return str(number) if self.exact else sizes.human(number)

    def _written(self, name: str, snapshot: str) -> tuple[str, str]:
        full = f"{head(name)}@{snapshot}"
        if full not in self.store.datasets:
            return NONE
        return self._size(self.space(name).since(name, full)), "local"

    def _room(self, name: str, prop: str) -> int:
        space = self.space(name)
        match prop:
            case "available":
                return space.available(name)
            case "logicalused":
                return space.used[name] - (space.by_reservation[name] if head(name) == name else 0)
            case "used" | "referenced" | "written":
                return int(getattr(space, prop)[name])
            case "logicalreferenced":
                return space.referenced[name]
        return int(getattr(space, prop.replace("usedby", "by_").replace("by_ref", "by_"))[name])

    def _crypt(self, name: str, prop: str) -> tuple[str, str]:
        store = self.store
        root = store.key_root(name)
        if not root:
            return PLAIN[prop], "default"
        key = store.datasets[root]["key"]
        if prop == "encryption":
            return store.datasets[head(name)]["suite"], "-"
        if prop == "keylocation":
            value = store.datasets[name]["props"].get(prop)
            return (value, "local") if value else ("none", "default")
        return str(key["format"] if prop == "keyformat" else key["iters"]), "-"

    def _setting(self, name: str, entry: properties.Property) -> tuple[str, str]:
        prop = entry.name
        row = self.store.datasets[name]
        if prop == "volsize" and row["type"] == S:
            return self._size(row["volsize"]), "local"
        if prop == "volsize" and row.get("partial"):
            return "0", "-"
        value, source = self.store.lookup(name, prop)
        if prop == "volblocksize":
            # Chosen once: where it is not the default it has no source.
            source = "default" if int(value) == properties.VOLBLOCKSIZE else "-"
        if entry.kind not in ("size", "count"):
            return value, source
        number = int(value)
        if prop.endswith("_limit"):
            return ("none" if number == properties.UNLIMITED else value), source
        if number == 0 and prop in ("quota", "refquota", "reservation", "refreservation"):
            # What is none by default has no other source (dsl_prop_nvlist_add_uint64() in dsl_prop.c).
            return "0" if self.exact else "none", "default"
        return self._size(number), source

    def _fact(self, name: str, prop: str) -> str:
        store = self.store
        dataset = store.datasets[name]
        match prop:
            case "name":
                return name
            case "type":
                return str(dataset["type"])
            case "creation":
                return str(dataset["creation"]) if self.exact else sizes.date(dataset["creation"])
            case "guid" | "objsetid":
                return str(store.guid(name) if prop == "guid" else dataset["txg"] + 50)
            case "createtxg":
                return str(dataset["txg"])
            case "compressratio" | "refcompressratio":
                return "1.00" if self.exact else "1.00x"
            case "mounted":
                return "yes" if dataset.get("shown") else "no"
            case "origin":
                return store.origin(name)
            case "clones":
                return ",".join(store.clones(name))
            case "userrefs":
                return str(len(dataset["holds"]))
            case "defer_destroy":
                return "on" if dataset.get("defer") else "off"
            case "encryptionroot":
                return store.key_root(name)
            case "keystatus":
                return ("unavailable" if store.locked(name) else "available") if store.key_root(name) else ""
            case "snapshots_changed":
                when = dataset.get("snapshots_changed", 0)
                return "" if not when else str(when) if self.exact else sizes.date(when)
            case "receive_resume_token":
                from bhype.lab.openzfs import resuming

                return resuming.token(dataset["partial"]) if dataset.get("partial") else ""
        return ""


__all__ = ["F", "S", "V", "Values"]
