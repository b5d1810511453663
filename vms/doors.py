"""What the rooms below ask of VMs: who may hear of one, and how its console is reached."""

from __future__ import annotations

from django.urls import reverse

from bhype.accounts.models import User
from bhype.console.models import Kind
from bhype.console.subjects import Subject

from . import plan
from .models import VM, Template

# The supervisor serves null-modem lines (vmrun/serial.py), the VM's own and those that were named.
LINES = {"com2": Kind.SERIAL2, "com3": Kind.SERIAL3, "com4": Kind.SERIAL4}
SERVED = (plan.OWN_LINE, "/dev/nmdm")


def may_hear(user: User, topic: str) -> bool:
    """Whether ``user`` may know that the VM of ``topic`` ("vm:12") has changed."""
    key = topic.partition(":")[2]
    is_number = key.isascii() and key.isdigit() and len(key) < 19
    return is_number and VM.objects.visible_to(user).filter(pk=key).exists()


def page(key: str) -> tuple[str, str] | None:
    """Address and name of the VM that a task is about, by its number; None when it is gone."""
    name = VM.objects.filter(pk=key).values_list("name", flat=True).first() if key.isdigit() else None
    return (reverse("vms:detail", args=[name]), name) if name else None


def template_page(key: str) -> tuple[str, str] | None:
    """Address and name of the template that a task is about, by its number; None when it is gone."""
    row = Template.objects.filter(pk=key).first() if key.isdigit() else None
    return (reverse("vms:template", args=[row.pk]), str(row)) if row else None


def console(user: User, name: str, right: str) -> Subject | None:
    """The VM's screen and serial console, if ``user`` holds ``right`` on it."""
    vm = VM.objects.visible_to(user, right).filter(name=name).first() if "\0" not in name else None
    if vm is None:
        return None
    kinds = [kind for kind, has in ((Kind.VNC, vm.has_screen), (Kind.SERIAL, vm.has_serial)) if has]
    kinds += [line for com, line in LINES.items() if str(vm.settings.get(com, "")).startswith(SERVED)]
    graphic = vm.settings.get("graphic")
    may_operate = user.can("vms.operate", owner_id=vm.owner_id)
    return Subject(
        topic=vm.subject,
        name=vm.name,
        title=vm.name,
        back_url=reverse("vms:detail", args=[vm.name]),
        kinds=tuple(str(kind) for kind in kinds),
        is_on=vm.state in plan.ON,
        state=vm.get_state_display(),
        password=vm.vnc_password,
        action_url=reverse("vms:action", args=[vm.name]) if may_operate else "",
        keyboard=str(vm.settings.get("keyboard", "")),
        is_recorded=vm.has_recording,
        # With "wait" the guest starts when somebody looks: that is no picture's business.
        has_picture=not (isinstance(graphic, dict) and graphic.get("wait")),
    )
