"""The value and the source of a property, as ``zfs get`` prints them."""

from __future__ import annotations

from bhype.lab.openzfs import properties, sizes
from bhype.lab.openzfs.space import Space
from bhype.lab.openzfs.store import F, S, Store, V

SPACE = {
    *("used", "available", "referenced", "usedbysnapshots", "usedbydataset", "usedbychildren"),
    *("usedbyrefreservation", "written", "logicalused", "logicalreferenced"),
}
NONE = ("-", "-")


class Values:
    """Reads properties; measures a pool only when somebody asks for space."""

    def __init__(self, store: Store, *, exact: bool) -> None:
        self.store = store
        self.exact = exact
        self._spaces: dict[str, Space] = {}

    def space(self, name: str) -> Space:
        pool = name.partition("/")[0].partition("@")[0]
        if pool not in self._spaces:
            self._spaces[pool] = Space(self.store, pool)
        return self._spaces[pool]

    def applies(self, name: str, prop: str) -> bool:
        kind = self.store.datasets[name]["type"]
        entry = properties.TABLE.get(prop)
        if entry is None:
            return True
        if kind == S and prop == "volsize":
            return "volsize" in self.store.datasets[name]
        return kind in entry.types

    def get(self, name: str, prop: str) -> tuple[str, str]:
        """Value and source; ``("-", "-")`` where the property has none."""
        if not self.applies(name, prop):
            return NONE
        if prop in SPACE:
            return self._size(self._room(name, prop)), "-"
        entry = properties.TABLE.get(prop)
        if entry is None:
            return self.store.lookup(name, prop)
        if entry.edit == "never":
            return self._fact(name, prop) or "-", "default" if prop in ("keylocation", "keyformat") else "-"
        return self._setting(name, entry)

    def number(self, name: str, prop: str) -> int | None:
        """The property as an integer to sort by, None where it has none or is text."""
        exact, self.exact = self.exact, True
        value = self.get(name, prop)[0]
        self.exact = exact
        return int(value) if value.isdigit() else None

    def _size(self, number: int) -> str:
        return str(number) if self.exact else sizes.human(number)

    def _room(self, name: str, prop: str) -> int:
        space = self.space(name)
        tables = {
            **{"used": space.used, "referenced": space.referenced, "written": space.written},
            **{"usedbysnapshots": space.by_snapshots, "usedbydataset": space.by_dataset},
            **{"usedbychildren": space.by_children, "usedbyrefreservation": space.by_reservation},
            **{"logicalreferenced": space.referenced},
        }
        if prop == "available":
            return space.available(name)
        if prop == "logicalused":
            return space.used[name] - space.by_reservation[name]
        return tables[prop][name]

    def _setting(self, name: str, entry: properties.Property) -> tuple[str, str]:
        prop = entry.name
        if prop == "volsize" and self.store.datasets[name]["type"] == S:
            return self._size(self.store.datasets[name]["volsize"]), "-"
        value, source = self.store.lookup(name, prop)
        if entry.kind not in ("size", "count"):
            return value, source
        number = int(value)
        if prop.endswith("_limit"):
            return ("none" if number == properties.UNLIMITED and not self.exact else value), source
        if number == 0 and prop in ("quota", "refquota", "reservation", "refreservation") and not self.exact:
            return "none", source
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
            case "encryption":
                return "off"
            case "keylocation" | "keyformat":
                return "none"
            case "pbkdf2iters":
                return "0"
            case "snapshots_changed":
                when = dataset.get("snapshots_changed", 0)
                return "" if not when else str(when) if self.exact else sizes.date(when)
        return ""


__all__ = ["F", "S", "V", "Values"]
