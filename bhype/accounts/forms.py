"""The forms of accounts. They check shape; the rules are in ``people``."""

from __future__ import annotations

from typing import Any

from django import forms

from .models import ApiToken, User
from .people import NotPossible
from .signin import NAME_MAX, PASSWORD_MAX

DAYS = [("7", "7 days"), ("30", "30 days"), ("90", "90 days"), ("365", "1 year"), ("", "Never")]


def _name(label: str = "User name", **attributes: Any) -> forms.CharField:
    more = {"autocomplete": "username", "autocapitalize": "none", "spellcheck": "false"} | attributes
    return forms.CharField(label=label, max_length=NAME_MAX, widget=forms.TextInput(attrs=more))


def _password(label: str, autocomplete: str, **options: Any) -> forms.CharField:
    widget = forms.PasswordInput(attrs={"autocomplete": autocomplete})
    return forms.CharField(label=label, max_length=PASSWORD_MAX, strip=False, widget=widget, **options)


def _new_password(**options: Any) -> forms.CharField:
    help_text = "At least 12 characters, not a common password."
    return _password("New password", "new-password", help_text=help_text, **options)


class Form(forms.Form):
    use_required_attribute = True

    def blame(self, error: NotPossible) -> None:
        """Put a refusal beside the field it is about."""
        self.add_error(error.field if error.field in self.fields else None, error.message)


class SignInForm(Form):
    username = _name(autofocus=True)
    password = _password("Password", "current-password")


class TwiceForm(Form):
    """A new password, typed twice."""

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("password") and data["password"] != data.get("again"):
            self.add_error("again", "This is not the same password.")
        return data


class SetupForm(TwiceForm):
    kind = forms.ChoiceField(
        label="The first admin is",
        choices=[("system", "A system account of this host"), ("panel", "A new account of this panel")],
        initial="system",
    )  # fmt: skip
    username = _name(autofocus=True)
    password = _password(
        "Password", "current-password", help_text="The system account's own, or one for the new account."
    )
    again = _password(
        "New password again", "new-password", required=False, help_text="For a new account only."
    )

    def clean(self) -> dict[str, Any]:
        if self.data.get("kind") != "panel":
            return forms.Form.clean(self) or {}
        return super().clean()


class TokenForm(Form):
    name = forms.CharField(max_length=64, help_text="What it is for, such as “backup script”.")
    scope = forms.ChoiceField(choices=ApiToken.Scope.choices)
    days = forms.TypedChoiceField(
        label="Expires after", choices=DAYS, coerce=int, empty_value=None, required=False, initial="30"
    )


class SshKeyForm(Form):
    text = forms.CharField(
        label="Public key",
        max_length=10_000,
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false", "class": "font-monospace"}),
        help_text="The line in a .pub file, such as ~/.ssh/id_ed25519.pub.",
    )
    name = forms.CharField(max_length=64, required=False, help_text="Empty: the comment in the key.")


class PasswordForm(TwiceForm):
    current = _password("Current password", "current-password")
    password = _new_password()
    again = _password("New password again", "new-password")


class PanelUserForm(TwiceForm):
    username = _name()
    role = forms.ChoiceField(choices=User.Role.choices, required=False)
    password = _new_password()
    again = _password("New password again", "new-password")


class InviteForm(Form):
    username = _name("Name of the system account")
    role = forms.ChoiceField(choices=User.Role.choices, required=False)


class UserForm(Form):
    role = forms.ChoiceField(choices=User.Role.choices, required=False)
    is_active = forms.BooleanField(
        label="May sign in",
        required=False,
        help_text="Switching it off ends all sessions and stops all tokens.",
    )


class DeleteUserForm(Form):
    confirm = _name("Type the user name to delete it", autocomplete="off")

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user

    def clean_confirm(self) -> str:
        if self.cleaned_data["confirm"] != self.user.username:
            raise forms.ValidationError(f"Type {self.user.username} to delete this user.")
        return self.user.username


class AuditForm(Form):
    """The filters of the audit log; every one may be empty."""

    user = forms.CharField(max_length=64, required=False)
    action = forms.CharField(max_length=64, required=False)
    object = forms.CharField(max_length=128, required=False)
    before = forms.IntegerField(min_value=1, required=False, widget=forms.HiddenInput)
