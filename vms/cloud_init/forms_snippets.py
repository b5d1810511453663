"""The form of a snippet. Its text is checked by its kind; what is only doubtful is told, and saved."""

from __future__ import annotations

from typing import Any

from django import forms

from vms.models import Snippet

from . import snippets


class SnippetForm(forms.ModelForm):  # type: ignore[type-arg]
    """Of an own snippet, or with the right templates.change of a shared one."""

    class Meta:
        model = Snippet
        fields = ("name", "kind", "text", "notes", "is_shared")
        labels = {"is_shared": "Shared", "text": "Text"}
        help_texts = {
            "is_shared": "Everybody who is signed in may see and use it: no passwords in it.",
            "notes": "",
        }
        widgets = {
            "name": forms.TextInput(attrs={"autocomplete": "off"}),
            "notes": forms.Textarea(attrs={"rows": 2}),
            "text": forms.Textarea(
                attrs={"rows": 16, "class": "font-monospace", "wrap": "off", "spellcheck": "false"}
            ),
        }

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        field = self.fields["text"]
        assert isinstance(field, forms.CharField)  # noqa: S101
        field.strip, field.max_length = False, 1 << 16

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"].strip()
        if problem := snippets.name_problem(name, self.instance):
            raise forms.ValidationError(problem)
        return name

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if "text" in data and "kind" in data:
            data["text"] = data["text"].replace("\r\n", "\n")
            for problem in snippets.problems(data["kind"], data["text"]):
                if not problem.is_warning:
                    self.add_error("text", str(problem))
        return data

    def save(self, commit: bool = True) -> Snippet:  # noqa: FBT001, FBT002
        snippets.touch(self.instance)
        found: Snippet = super().save(commit)
        return found
