"""The filters of the list of tasks; the same words in the page's URL and in the API."""

from __future__ import annotations

from typing import Any

from django import forms

from .models import Task, TaskQuerySet

PAGE = 50


class Filter(forms.Form):
    """All are optional. ``status``: a task's, or "unfinished"; ``before``: only tasks older than this one."""

    status = forms.ChoiceField(
        required=False, choices=[("", "All"), ("unfinished", "Unfinished"), *Task.Status.choices]
    )
    user = forms.CharField(required=False, max_length=64)
    operation = forms.CharField(required=False, max_length=64)
    subject = forms.CharField(required=False, max_length=80)
    before = forms.IntegerField(required=False, min_value=1, max_value=2**63 - 1, widget=forms.HiddenInput)

    @property
    def is_filtered(self) -> bool:
        return any(self.data.get(name) for name in ("status", "user", "operation", "subject"))

    def apply(self, rows: TaskQuerySet) -> TaskQuerySet:
        """The tasks that pass, newest first; none when a filter makes no sense."""
        if not self.is_valid():
            return rows.none()
        return select(rows, **self.cleaned_data)


def select(
    rows: TaskQuerySet,
    *,
    status: str = "",
    user: str = "",
    operation: str = "",
    subject: str = "",
    before: int | None = None,
) -> TaskQuerySet:
    wanted: dict[str, Any] = {}
    if status == "unfinished":
        wanted["status__in"] = Task.UNFINISHED
    elif status:
        wanted["status"] = status
    if user:
        wanted["user__username"] = user
    if operation:
        wanted["operation"] = operation
    if subject:
        wanted["subject"] = subject
    if before:
        wanted["id__lt"] = before
    return rows.filter(**wanted).select_related("user").order_by("-id")
