"""bhyve's configuration: a tree of variables, as bhyve_config(5) describes it and bhyve keeps it.

Every option of the command line only sets variables here; the devices read them. Errors end the program
with the texts and statuses of bhyve (status 4 unless said otherwise).
"""

from __future__ import annotations

from bhype.lab import core

Node = dict[str, "str | Node"]

_TRUE, _FALSE = ("true", "on", "yes", "1"), ("false", "off", "no", "0")


class Config:
    """The tree. A path is ``a.b.c``; leaves are text, in the order in which they were last set.

    items: the fw_cfg items of -f with their contents, which bhyve keeps beside its variables.
    """

    def __init__(self) -> None:
        self.tree: Node = {}
        self.items: list[tuple[str, bytes]] = []

    def create(self, path: str) -> Node:
        """The node at ``path``, made where it is missing."""
        node = self.tree
        for name in path.split("."):
            if not name:
                core.warn(f"bhyve: Invalid configuration node: {path}")
                core.fail(f"bhyve: Failed to create configuration node {path}", 4)
            inner = node.setdefault(name, {})
            if isinstance(inner, str):
                core.warn(f"bhyve: Configuration node {path} is a child of existing variable {name}")
                core.fail(f"bhyve: Failed to create configuration node {path}", 4)
            node = inner
        return node

    def find(self, path: str) -> Node | None:
        """The node at ``path`` or None."""
        node: str | Node = self.tree
        for name in path.split("."):
            if isinstance(node, str) or name not in node:
                return None
            node = node[name]
        return None if isinstance(node, str) else node

    def set(self, path: str, value: str) -> None:
        above, _, name = path.rpartition(".")
        node = self.create(above) if above else self.tree
        if isinstance(node.get(name), dict):
            core.fail(f"bhyve: Attempting to add value {value} to existing node {path}", 4)
        put(node, name, value)

    def get(self, path: str) -> str | None:
        """The value at ``path`` with its references expanded."""
        above, _, name = path.rpartition(".")
        node = self.find(above) if above else self.tree
        return None if node is None else self.value(node, name)

    def value(self, node: Node, name: str) -> str | None:
        """The variable ``name`` of ``node``, expanded."""
        value = node.get(name)
        return self._expand(value) if isinstance(value, str) else None

    def flag(self, path: str, default: bool = False) -> bool:  # noqa: FBT001, FBT002
        return _flag(path, self.get(path), default)

    def node_flag(self, node: Node, name: str) -> bool:
        return _flag(name, self.value(node, name), default=False)

    def dump(self) -> list[str]:
        """``a.b=value`` lines, depth first, in the order of setting; values as they were given."""
        return list(_lines("", self.tree))

    def _raw(self, path: str) -> str | None:
        above, _, name = path.rpartition(".")
        node = self.find(above) if above else self.tree
        value = node.get(name) if node else None
        return value if isinstance(value, str) else None

    def _expand(self, value: str, depth: int = 0) -> str:
        # A value without % is taken as it is: even its backslashes stay.
        if "%" not in value:
            return value
        text, at = "", 0
        while at < len(value):
            sign = value[at]
            end = value.find(")", at + 2)
            if sign == "%" and depth <= 15 and value.startswith("(", at + 1) and end >= 0:
                name = value[at + 2 : end]
                inner = self._raw(name)
                if inner is None:
                    core.warn(f"bhyve: Failed to fetch referenced configuration variable {name}")
                else:
                    text += self._expand(inner, depth + 1)
                at = end + 1
                continue
            if sign == "%" and depth > 15:
                core.warn("bhyve: Too many recursive references in configuration value")
            elif sign == "%":
                core.warn(f'bhyve: Invalid reference in configuration value "{value}"')
            elif sign == "\\":
                at += 1
                if at == len(value):
                    core.warn(f'bhyve: Trailing \\ in configuration value "{value}"')
                    break
                sign = value[at]
            text += sign
            at += 1
        return text


def put(node: Node, name: str, value: str) -> None:
    """Set a variable of one node; setting it again moves it to the end, as nvlist(9) does."""
    if "." in name:
        core.fail(f"bhyve: Invalid config node name {name}", 4)
    if isinstance(node.get(name), dict):
        core.fail(f"bhyve: Attemping to add value {value} to existing node {name} of list 0x0", 4)
    node.pop(name, None)
    node[name] = value


def put_options(node: Node, options: str | None) -> None:
    """``name=value,name,...``: a bare name is true. No value can hold a comma."""
    if options is None:
        return
    for option in options.split(","):
        name, equals, value = option.partition("=")
        put(node, name, value if equals else "true")


def _flag(name: str, value: str | None, default: bool) -> bool:  # noqa: FBT001
    if value is None:
        return default
    if value.lower() in _TRUE:
        return True
    if value.lower() not in _FALSE:
        core.fail(f"bhyve: Invalid value {value} for boolean variable {name}", 4)
    return False


def _lines(prefix: str, node: Node) -> list[str]:
    lines = []
    for name, value in node.items():
        if isinstance(value, dict):
            lines += _lines(f"{prefix}{name}.", value)
        else:
            lines.append(f"{prefix}{name}={value}")
    return lines
