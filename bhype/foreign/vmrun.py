"""vmrun's JSON: vm.json is an extension of it, so that reading it is checking it."""

from __future__ import annotations

import copy

from .imported import Draft, Imported, load_json

# The panel's own: it says which VM of which panel the file belongs to, and is never taken over.
_PANEL = "bhype"


def read(text: str, *, name: str = "", folder: str = "", dataset: str = "") -> Imported:
    """A vm.json, of vmrun or of another bHype. name: instead of the one in it; relative paths are of ``folder``.

    Raises Unreadable when it is no JSON object.
    """
    document = copy.deepcopy(load_json(text))
    draft = Draft(name or str(document.get("name") or ""), folder, dataset)
    if document.pop(_PANEL, None) is not None:
        draft.left_out("what another panel noted about the VM (bhype)")
    entries = document.pop("emulations", [])
    draft.emulations = entries if isinstance(entries, list) else []
    if draft.emulations is not entries:
        draft.problem("vm", "emulations is no list.")
    draft.document = document
    targets = document.get("targets")
    for part in (document, *(targets.values() if isinstance(targets, dict) else ())):
        if isinstance(part, dict):
            _settle(draft, part, draft.emulations if part is document else part.get("emulations"))
    return draft.finish()


def _settle(draft: Draft, part: dict[str, object], entries: object) -> None:
    """Make the paths of a main part or target absolute, and cut its password."""
    for entry in entries if isinstance(entries, list) else ():
        ports = entry.get("ports") if isinstance(entry, dict) else None
        for holder in (entry, *(ports if isinstance(ports, list) else ())):
            if isinstance(holder, dict) and isinstance(holder.get("path"), str):
                holder["path"] = draft.path(holder["path"])
    for key in ("bootrom", "varfile"):
        if isinstance(part.get(key), str):
            part[key] = draft.path(str(part[key]))
    graphic = part.get("graphic")
    if isinstance(graphic, dict) and isinstance(graphic.get("password"), str):
        graphic["password"] = draft.screen_password(graphic["password"])
