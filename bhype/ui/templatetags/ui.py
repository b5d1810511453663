"""Template tags of every page. Built in: no ``{% load %}`` is needed (settings.TEMPLATES)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import template
from django.forms import BoundField, CheckboxInput, Select, Textarea
from django.template import Context, Node, NodeList
from django.template.base import Parser, Token
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince

register = template.Library()

# What a word of state looks like: colour of Tabler, and whether it is still changing.
STATES = {
    "creating": ("azure", True), "starting": ("azure", True), "stopping": ("azure", True),
    "restarting": ("azure", True), "resetting": ("azure", True), "deleting": ("orange", True),
    "running": ("green", False), "online": ("green", False), "succeeded": ("green", False),
    "up": ("green", False), "stopped": ("secondary", False), "queued": ("secondary", True),
    "cancelling": ("orange", True), "cancelled": ("secondary", False), "interrupted": ("orange", False),
    "crashed": ("red", False), "failed": ("red", False), "lost": ("orange", False), "offline": ("red", False),
    "locked": ("yellow", False), "making": ("azure", True), "ready": ("green", False), "published": ("green", False),
    "degraded": ("orange", False), "unavail": ("red", False), "removed": ("red", False),
    "suspended": ("red", False), "avail": ("green", False), "inuse": ("azure", False),
    "faulted": ("red", False), "down": ("secondary", False),
}  # fmt: skip


@register.simple_tag
def icon(name: str, extra: str = "") -> SafeString:
    """An icon of static/bhype/icons.svg; hidden from screen readers, so say its meaning beside it."""
    return format_html(
        '<svg class="icon{}" aria-hidden="true"><use href="{}#{}"/></svg>',
        f" {extra}" if extra else "", static("bhype/icons.svg"), name,
    )  # fmt: skip


@register.filter
def filesize(value: Any) -> str:
    """A number of bytes in IEC units with at most one decimal: ``1.5 GiB``."""
    try:
        size = float(value)
    except (TypeError, ValueError):
        return ""
    unit = "B"
    for larger in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        if abs(size) < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.0f} {unit}" if size >= 1000 else f"{round(size, 1):g} {unit}"


@register.filter
def ago(value: datetime | None) -> str:
    """A moment as the time since then, with the full stamp (UTC) on hover; ui.js keeps it current."""
    if value is None:
        return "never"
    distance = timesince(value, timezone.now(), depth=1)
    text = "just now" if distance.startswith("0") else f"{distance} ago"
    stamp = timezone.localtime(value)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        value.isoformat(),
        stamp.strftime("%Y-%m-%d %H:%M:%S %Z"),
        text,
    )


@register.filter
def duration(seconds: float | None) -> str:
    """Seconds as people say them: ``0.4 s``, ``12 s``, ``3 min 5 s``, ``2 h 4 min``."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


@register.filter
def percent_of(part: float, whole: float) -> int:
    """``part`` of ``whole`` in percent, between 0 and 100; 0 when there is no whole."""
    return max(0, min(100, round(100 * part / whole))) if whole else 0


@register.simple_tag
def badge(word: str, label: str = "", title: str = "") -> SafeString:
    """The badge of a state word such as ``running`` or ``failed``."""
    colour, moving = STATES.get(word.lower(), ("secondary", False))
    dot = "status-dot status-dot-animated" if moving else "status-dot"
    hover = format_html(' title="{}"', title) if title else ""
    return format_html(
        '<span class="status status-{}"{}><span class="{}"></span>{}</span>',
        colour, hover, dot, label or word.capitalize(),
    )  # fmt: skip


@register.simple_tag
def bar(percent: float, label: str, colour: str = "") -> SafeString:
    """A small bar. ``label`` tells on hover what is measured; the number itself stands beside the bar."""
    level = colour or ("red" if percent >= 90 else "yellow" if percent >= 75 else "primary")
    width = max(0, min(100, round(percent)))
    return format_html(
        '<span class="bar" title="{}"><i class="bg-{}" style="width:{}%"></i></span>',
        label, level, width,
    )  # fmt: skip


@register.simple_tag(takes_context=True)
def url_with(context: Context, **changes: Any) -> str:
    """This page's query string with some keys changed (None or "" removes one): keeps filters in links."""
    query = context["request"].GET.copy()
    for key, value in changes.items():
        query.pop(key, None)
        if value not in (None, ""):
            query[key] = str(value)
    return f"?{query.urlencode()}"


@register.filter
def control(field: BoundField) -> SafeString:
    """A form field's widget with Tabler's class for its kind, tied to its help text and errors."""
    widget = field.field.widget
    names = [f"{field.auto_id}_help"] if field.help_text else []
    if field.errors:
        names.append(f"{field.auto_id}_error")
    attributes: dict[str, Any] = {"aria-describedby": " ".join(names)} if names else {}
    kind = "form-control"
    if isinstance(widget, CheckboxInput):
        kind = "form-check-input"
    elif isinstance(widget, Select):
        kind = "form-select"
    elif isinstance(widget, Textarea):
        attributes["rows"] = widget.attrs.get("rows", 3)
    own = widget.attrs.get("class", "")
    invalid = " is-invalid" if field.errors else ""
    attributes["class"] = f"{own} {kind}{invalid}".strip()
    return field.as_widget(attrs=attributes)


@register.filter
def is_checkbox(field: BoundField) -> bool:
    return isinstance(field.field.widget, CheckboxInput)


@register.filter
def get_item(mapping: Any, key: Any) -> Any:
    """``mapping[key]``, or None: for templates with a key in a variable."""
    return mapping.get(key)


class KeepNode(Node):
    def __init__(self, nodelist: NodeList, name: str) -> None:
        self.nodelist = nodelist
        self.name = name

    def render(self, context: Context) -> str:
        # Rendering has escaped it; strip() forgets that.
        context[self.name] = SafeString(self.nodelist.render(context).strip())
        return ""


@register.tag
def keep(parser: Parser, token: Token) -> KeepNode:
    """``{% keep name %}...{% endkeep %}`` renders once, for what is shown twice: the page's title."""
    name = token.split_contents()[1]
    nodelist = parser.parse(("endkeep",))
    parser.delete_first_token()
    return KeepNode(nodelist, name)
