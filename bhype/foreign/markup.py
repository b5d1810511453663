"""XML without what makes it dangerous: no document type, so no entities; nothing outside the text is read."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any
from xml.parsers import expat

from .imported import Unreadable

DEPTH_MAX = 32
ELEMENTS_MAX = 20_000


def parse(text: str) -> ET.Element:
    """The root element. Names in a namespace are ``{address}name``. Raises Unreadable."""
    builder = ET.TreeBuilder()
    parser = expat.ParserCreate("utf-8", "}")
    depth = count = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth, count
        depth, count = depth + 1, count + 1
        if depth > DEPTH_MAX or count > ELEMENTS_MAX:
            raise Unreadable("The XML is nested too deeply, or too long, for a VM.")
        builder.start(_name(tag), {_name(key): value for key, value in attributes.items()})

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(_name(tag))

    def refuse(*_: object) -> Any:
        raise Unreadable("XML with a document type or entities is not read.")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = refuse
    try:
        parser.Parse(text.encode(), True)  # noqa: FBT003 - expat's own: this is all there is
    except expat.ExpatError as error:
        raise Unreadable(f"This is not XML: {error}.") from error
    return builder.close()


def _name(name: str) -> str:
    return "{" + name if "}" in name else name


def render(root: ET.Element) -> str:
    """The element as an indented text with a line end."""
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


class Node:
    """An element that knows what of it was read, to tell what was not."""

    def __init__(self, element: ET.Element) -> None:
        self.element = element
        self.tag = element.tag
        self._attributes: set[str] = set()
        self._children = [Node(child) for child in element]
        self._is_read = False

    @property
    def text(self) -> str:
        return (self.element.text or "").strip()

    def get(self, key: str, default: str = "") -> str:
        self._attributes.add(key)
        return self.element.get(key, default)

    def all(self, *tags: str) -> list[Node]:
        """The children with one of these tags, in their order; they count as read."""
        found = [child for child in self._children if child.tag in tags]
        for child in found:
            child._is_read = True
        return found

    def one(self, tag: str) -> Node:
        """The first child with that tag, else an empty element. Further ones stay unread."""
        for child in self._children:
            if child.tag == tag:
                child._is_read = True
                return child
        return Node(ET.Element(tag))

    def has(self, tag: str) -> bool:
        return any(child.tag == tag for child in self.all(tag))

    def skip(self, *names: str) -> None:
        """These attributes ("@name") and children say nothing of the machine."""
        self._attributes |= {name[1:] for name in names if name.startswith("@")}
        for child in self._children:
            if child.tag in names:
                child._is_read = True
                child.skip_all()

    def skip_all(self) -> None:
        self._attributes |= set(self.element.attrib)
        for child in self._children:
            child._is_read = True
            child.skip_all()

    def unread(self, path: str = "") -> Iterator[str]:
        """What nobody asked for, as "devices/watchdog model='i6300esb'"."""
        here = f"{path}/{self.tag}" if path else self.tag
        for key, value in self.element.attrib.items():
            if key not in self._attributes:
                yield f"{here} {key}={value!r}"
        for child in self._children:
            if child._is_read:
                yield from child.unread(here)
            else:
                words = [f"{key}={value!r}" for key, value in child.element.attrib.items()]
                yield " ".join([f"{here}/{child.tag}", *words, *([repr(child.text)] if child.text else [])])
