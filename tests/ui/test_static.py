"""SECURITY.md 5.2: what a page loads, and that everything it names is there."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders

ROOT = Path(__file__).resolve().parents[2]
STATIC = ROOT / "static"
TEMPLATES = [path for path in ROOT.glob("**/templates/**/*.html") if ".venv" not in path.parts]


def loaded(html: str) -> list[str]:
    return re.findall(r'(?:src|href)="/static/([^"#]+\.(?:js|css))"', html)


@pytest.mark.parametrize(
    "path",
    ["/vms/", "/vms/new/", "/vms/web1/", "/vms/web1/edit/", "/tasks/", "/storage/", "/network/", "/hosts/"],
)
def test_a_page_loads_at_most_150_kb_of_scripts_and_styles(as_user, admin, vm, path):
    files = loaded(as_user(admin).get(path).content.decode())
    assert "bhype/ui.js" in files
    assert "vendor/tabler/tabler.min.css" in files
    sizes = {}
    for name in files:
        found = finders.find(name)
        assert found, f"{name} is not there"
        sizes[name] = len(gzip.compress(Path(str(found)).read_bytes(), 6))
    assert sum(sizes.values()) <= 150_000, sizes


def test_no_page_loads_anything_from_elsewhere(as_user, admin, vm):
    html = as_user(admin).get("/vms/web1/").content.decode()
    assert not re.findall(r'(?:src|href|action)="(?:https?:)?//', html)


def test_every_icon_that_a_template_names_is_in_the_sprite():
    there = set(re.findall(r'<symbol id="([^"]+)"', (STATIC / "bhype/icons.svg").read_text()))
    named = {
        (name, path.name)
        for path in TEMPLATES
        for name in re.findall(r'{%\s*icon\s+"([^"]+)"', path.read_text())
    }
    assert {(name, where) for name, where in named if name not in there} == set()
    for path in [*(STATIC / "bhype").glob("*.js")]:
        assert set(re.findall(r'\bicon\("([a-z0-9-]+)"\)', path.read_text())) <= there


def test_icons_named_in_code_are_in_the_sprite():
    from bhype.ui.context import ITEMS
    from vms.pages import POWER

    there = (STATIC / "bhype/icons.svg").read_text()
    for name in [item.icon for item in ITEMS] + [action.icon for action in POWER.values()]:
        assert f'id="{name}"' in there


def test_what_is_vendored_has_its_licence_and_version():
    for folder in (STATIC / "vendor").iterdir():
        names = {path.name.partition(".")[0] for path in folder.iterdir()}
        assert {"LICENSE", "VERSION"} <= names, folder
    assert (STATIC / "bhype/icons.LICENSE").exists()


def test_templates_mark_nothing_as_safe():
    for path in TEMPLATES:
        text = path.read_text()
        assert not re.search(r"\|\s*safe\b|autoescape\s+off|<script>", text), path


def test_scripts_use_no_eval_and_no_inner_html_of_data():
    for path in (STATIC / "bhype").glob("*.js"):
        text = path.read_text()
        assert not re.search(r"\beval\(|new Function|innerHTML\s*=|outerHTML\s*=|document\.write", text), path


def test_a_missing_style_would_be_seen():
    for path in (STATIC / "bhype/ui.css", STATIC / "bhype/vms.css"):
        text = path.read_text()
        assert text.count("{") == text.count("}"), path
        assert "prefers-reduced-motion" in text or path.name == "vms.css"
