"""The pages of templates and OS presets."""

from __future__ import annotations

import json

from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.shortcuts import redirect, render

from bhype.accounts import audit
from bhype.accounts.access import allow, signed_in
from bhype.hosts.models import Host
from bhype.live import publish
from bhype.tasks import Refused, ask
from bhype.ui.pages import posted, render_page, status_of, wants
from storage.models import Image
from vms.models import VM, OsPreset, Template

from . import pages, presets
from .forms import DeleteTemplateForm, FromImageForm, FromVmForm, PresetForm, TemplateForm


@allow("vms.create")
def index(request: HttpRequest) -> HttpResponse:
    user = signed_in(request)
    context = {
        "families": pages.families(user, Host.objects.this()),
        "may_change": user.can("templates.change"),
        "has_images": Image.objects.filter(pool__host=Host.objects.this(), state=Image.State.READY).exists(),
    }
    return render_page(request, "vms/template_list.html", context, part="templates")


@allow("templates.change", methods="GET POST")
def create(request: HttpRequest) -> HttpResponse:
    """A template of an image. ``image``: the number of the one that is suggested."""
    form = FromImageForm(posted(request), initial={"image": request.GET.get("image", "")})
    made = form.save(signed_in(request)) if form.is_bound and form.is_valid() else None
    if made:
        audit.record(request, "templates.add", str(made[0]), task=made[1])
        messages.success(request, f"{made[0]} is being made.")
        return redirect("vms:template", made[0].pk)
    return render(request, "vms/template_new.html", {"form": form}, status=status_of(form))


@allow("vms.change", VM, methods="GET POST")
def create_from_vm(request: HttpRequest, vm: VM) -> HttpResponse:
    user = signed_in(request)
    if not user.can("templates.change"):
        raise pages.missing()
    form = FromVmForm(posted(request), vm=vm)
    made = form.save(user) if form.is_bound and form.is_valid() else None
    if made:
        audit.record(request, "templates.add", str(made[0]), {"vm": vm.name}, task=made[1])
        messages.success(request, f"{made[0]} is being made.")
        return redirect("vms:template", made[0].pk)
    return render(request, "vms/template_from_vm.html", {"form": form, "vm": vm}, status=status_of(form))


@allow("vms.create", Template)
def detail(request: HttpRequest, template: Template) -> HttpResponse:
    user = signed_in(request)
    context = pages.detail(user, template)
    if wants(request, "template-state"):
        return render(request, "vms/_template_state.html", context)
    if context["may_change"]:
        context |= {"form": TemplateForm(instance=template), "delete": DeleteTemplateForm()}
    context["document"] = json.dumps(template.document, indent=2)
    return render(request, "vms/template_detail.html", context)


@allow("templates.change", Template, methods="POST")
def change(request: HttpRequest, template: Template) -> HttpResponse:
    form = TemplateForm(request.POST, instance=template)
    if form.is_valid():
        form.save()
        audit.record(request, "templates.change", str(template), {"fields": form.changed_data})
        messages.success(request, "Saved.")
        return redirect("vms:template", template.pk)
    context = pages.detail(signed_in(request), template) | {"form": form, "delete": DeleteTemplateForm()}
    context["document"] = json.dumps(template.document, indent=2)
    return render(request, "vms/template_detail.html", context, status=422)


@allow("templates.change", Template, methods="POST")
def publish_it(request: HttpRequest, template: Template) -> HttpResponse:
    """``do``: publish, or hide from those who do not change templates."""
    wanted = {"publish": True, "hide": False}.get(request.POST.get("do", ""))
    if wanted is None:
        return HttpResponseBadRequest("No such action.")
    with transaction.atomic():
        Template.objects.filter(pk=template.pk).update(is_published=wanted)
        publish(template.subject, "templates")
    audit.record(request, "templates.change", str(template), {"is_published": wanted})
    messages.success(request, f"{template} is {'published' if wanted else 'hidden'}.")
    return redirect("vms:template", template.pk)


@allow("templates.change", Template, methods="POST")
def delete(request: HttpRequest, template: Template) -> HttpResponse:
    form = DeleteTemplateForm(request.POST)
    form.full_clean()
    try:
        params = {"template_id": template.pk, "promote": form.cleaned_data["promote"]}
        task = ask("vms.delete_template", params, signed_in(request))
    except Refused as refused:
        messages.error(request, str(refused))
        return redirect("vms:template", template.pk)
    audit.record(request, "templates.delete", str(template), params, task=task)
    return redirect("tasks:detail", task.pk)


# Presets.


@allow("templates.change")
def preset_list(request: HttpRequest) -> HttpResponse:
    return render(request, "vms/preset_list.html", {"presets": OsPreset.objects.all()})


@allow("templates.change", methods="GET POST")
def preset_new(request: HttpRequest) -> HttpResponse:
    form = PresetForm(posted(request))
    if form.is_bound and form.is_valid():
        row = form.save()
        audit.record(request, "presets.add", row.name)
        messages.success(request, f"{row.title} is there.")
        return redirect("vms:presets")
    return render(request, "vms/preset_form.html", {"form": form}, status=status_of(form))


@allow("templates.change", OsPreset, methods="GET POST", keyword="preset")
def preset(request: HttpRequest, preset: OsPreset) -> HttpResponse:
    form = PresetForm(posted(request), instance=preset)
    if form.is_bound and form.is_valid():
        form.save()
        audit.record(request, "presets.change", preset.name, {"fields": form.changed_data})
        messages.success(request, "Saved.")
        return redirect("vms:presets")
    preset = OsPreset.objects.get(pk=preset.pk)
    context = {"form": form, "preset": preset, "sources": presets.sources(preset)}
    context["is_shipped"] = preset.name in presets.shipped()
    return render(request, "vms/preset_form.html", context, status=status_of(form))


@allow("templates.change", OsPreset, methods="POST", keyword="preset")
def preset_do(request: HttpRequest, preset: OsPreset) -> HttpResponse:
    """``do``: reset a shipped preset, or remove an admin's own."""
    is_shipped, wanted = preset.name in presets.shipped(), request.POST.get("do", "")
    if wanted != ("reset" if is_shipped else "remove"):
        return HttpResponseBadRequest("No such action.")
    if is_shipped:
        presets.reset(preset)
    else:
        preset.delete()
    audit.record(request, f"presets.{wanted}", preset.name)
    messages.success(request, f"{preset.title} is {'as it was shipped' if is_shipped else 'removed'}.")
    return redirect("vms:presets")
