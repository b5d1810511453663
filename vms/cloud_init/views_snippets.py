"""The library of snippets: pieces of user-data, scripts, and answers of installers."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from bhype.accounts import audit
from bhype.accounts.access import allow, signed_in
from bhype.ui.pages import posted, status_of
from vms.models import Snippet

from . import snippets
from .forms_snippets import SnippetForm

CHANGE = "templates.change"


@allow("self")
def index(request: HttpRequest) -> HttpResponse:
    user = signed_in(request)
    rows = Snippet.objects.visible_to(user).select_related("owner").defer("text")
    mine = set(Snippet.objects.visible_to(user, CHANGE).values_list("pk", flat=True))
    return render(request, "vms/snippets.html", {"snippets": rows, "mine": mine})


@allow("self", methods="GET POST")
def add(request: HttpRequest) -> HttpResponse:
    kind = request.GET.get("kind", "")
    row = Snippet(
        owner=signed_in(request), kind=kind if kind in Snippet.Kind.values else Snippet.Kind.USER_DATA
    )
    row.text = snippets.beginning(row.kind)
    return _form(request, row)


@allow(CHANGE, Snippet, methods="GET POST")
def edit(request: HttpRequest, snippet: Snippet) -> HttpResponse:
    return _form(request, snippet)


def _form(request: HttpRequest, row: Snippet) -> HttpResponse:
    form = SnippetForm(posted(request), instance=row)
    if form.is_bound and form.is_valid():
        verb = "snippets.change" if row.pk else "snippets.create"
        form.save()
        audit.record(request, verb, f"snippet {row.name}", {"shared": row.is_shared})
        messages.success(request, f"{row.name} is saved.")
        return redirect("vms:snippet", row.pk)
    return render(request, "vms/snippet_form.html", {"form": form, "snippet": row}, status=status_of(form))


@allow("self", Snippet)
def show(request: HttpRequest, snippet: Snippet) -> HttpResponse:
    user = signed_in(request)
    more = {
        "may_change": Snippet.objects.visible_to(user, CHANGE).filter(pk=snippet.pk).exists(),
        "problems": snippets.problems(snippet.kind, snippet.text),
        "users": snippets.used_by(snippet, user),
    }
    return render(request, "vms/snippet.html", {"snippet": snippet, **more})


@allow(CHANGE, Snippet, methods="POST")
def delete(request: HttpRequest, snippet: Snippet) -> HttpResponse:
    if problem := snippets.delete(snippet):
        messages.error(request, problem)
        return redirect("vms:snippet", snippet.pk)
    audit.record(request, "snippets.delete", f"snippet {snippet.name}")
    messages.success(request, f"{snippet.name} is deleted.")
    return redirect("vms:snippets")
