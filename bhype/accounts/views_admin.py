"""Pages of admins: the users of the panel, and the audit log."""

from __future__ import annotations

import csv
from typing import Any

from django.contrib import messages
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from . import people
from .access import allow
from .forms import AuditForm, DeleteUserForm, InviteForm, PanelUserForm, UserForm
from .models import AuditEntry, User

PAGE = 100
EXPORT_MAX = 50_000


@allow("users.manage")
def users(request: HttpRequest) -> HttpResponse:
    rows = User.objects.annotate(token_count=Count("tokens", filter=Q(tokens__revoked_at=None)))
    return render(request, "accounts/users.html", {"users": rows})


@allow("users.manage", methods="GET POST")
def user_add(request: HttpRequest) -> HttpResponse:
    form = PanelUserForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        try:
            user = people.add_panel_user(request, data["username"], data["password"], data["role"])
            messages.success(request, f"{user} may sign in with the new password.")
            return redirect("accounts:users")
        except people.NotPossible as error:
            form.blame(error)
    return render(request, "accounts/user_add.html", {"form": form}, status=422 if form.errors else 200)


@allow("users.manage", methods="GET POST")
def user_invite(request: HttpRequest) -> HttpResponse:
    form = InviteForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            user = people.invite(request, **form.cleaned_data)
            messages.success(request, f"{user} may sign in with the password of the system account.")
            return redirect("accounts:users")
        except people.NotPossible as error:
            form.blame(error)
    return render(request, "accounts/user_invite.html", {"form": form}, status=422 if form.errors else 200)


@allow("users.manage", User, methods="GET POST")
def user(request: HttpRequest, user: User) -> HttpResponse:
    form = UserForm(request.POST or None, initial={"role": user.role, "is_active": user.is_active})
    if request.method == "POST" and form.is_valid():
        try:
            people.change(request, user, **form.cleaned_data)
            messages.success(request, f"{user} is changed.")
            return redirect("accounts:users")
        except people.NotPossible as error:
            form.blame(error)
    return _user(request, user, form, DeleteUserForm(user=user))


@allow("users.manage", User, methods="POST")
def user_delete(request: HttpRequest, user: User) -> HttpResponse:
    form = DeleteUserForm(request.POST, user=user)
    if form.is_valid():
        try:
            people.delete(request, user)
            messages.success(request, f"The user {user.username} is deleted.")
            return redirect("accounts:users")
        except people.NotPossible as error:
            form.add_error("confirm", error.message)
    return _user(request, user, UserForm(initial={"role": user.role, "is_active": user.is_active}), form)


def _user(request: HttpRequest, user: User, form: UserForm, delete_form: DeleteUserForm) -> HttpResponse:
    fresh = User.objects.get(pk=user.pk)
    context = {
        "person": fresh,
        "form": form,
        "delete_form": delete_form,
        "tokens": fresh.tokens.filter(revoked_at=None),
        "session_count": fresh.sign_ins.count(),
    }
    wrong = form.errors or delete_form.errors
    return render(request, "accounts/user.html", context, status=422 if wrong else 200)


def entries(
    user: str = "", action: str = "", object: str = "", before: int | None = None
) -> QuerySet[AuditEntry]:
    """The lines of the audit log that match, newest first; ``before``: only older ones than this number."""
    rows = AuditEntry.objects.all()
    if user:
        rows = rows.filter(username=user)
    if action:
        rows = rows.filter(action__startswith=action)
    if object:
        rows = rows.filter(object__icontains=object)
    return rows.filter(pk__lt=before) if before else rows


@allow("audit.view")
def audit(request: HttpRequest) -> HttpResponse:
    form = AuditForm(request.GET)
    found = list(entries(**form.cleaned_data)[: PAGE + 1]) if form.is_valid() else []
    context = {
        "form": form,
        "entries": found[:PAGE],
        "older": found[PAGE - 1].pk if len(found) > PAGE else None,
        "filtered": any(request.GET.get(name) for name in form.fields),
    }
    return render(request, "accounts/audit.html", context)


@allow("audit.view")
def audit_csv(request: HttpRequest) -> HttpResponse:
    form = AuditForm(request.GET)
    rows = entries(**form.cleaned_data)[:EXPORT_MAX] if form.is_valid() else AuditEntry.objects.none()
    answer = HttpResponse(content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = 'attachment; filename="audit.csv"'
    writer = csv.writer(answer)
    writer.writerow(["number", "time", "user", "address", "action", "object", "detail", "task"])
    for row in rows.iterator(chunk_size=2000):
        cells = [
            row.pk,
            row.at.isoformat(),
            row.username,
            row.address,
            row.action,
            row.object,
            row.detail,
            row.task_id,
        ]
        writer.writerow([_cell(cell) for cell in cells])
    return answer


def _cell(value: Any) -> str:
    """A cell that a spreadsheet does not take for a formula."""
    text = "" if value is None else str(value)
    return "'" + text if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
