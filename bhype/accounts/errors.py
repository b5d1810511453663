"""An error that the API answers with: {"code", "message", "field"}."""

from __future__ import annotations

from django.core.exceptions import NON_FIELD_ERRORS
from django.forms import BaseForm


class ApiError(Exception):
    """status: of HTTP; code: one word for programs; message: a sentence for people; field: what is wrong."""

    def __init__(self, status: int, code: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.field = field

    def as_json(self) -> dict[str, str]:
        body = {"code": self.code, "message": self.message}
        return body | {"field": self.field} if self.field else body


def invalid(form: BaseForm, **names: str | None) -> ApiError:
    """The first error of a form that a document was filled into; names: what the form's fields are called there.

    409 "stale" for a form that says so of itself (``is_stale``): somebody has changed the row since it was looked at.
    """
    if getattr(form, "is_stale", False):
        return ApiError(409, "stale", str(form.non_field_errors()[0]))
    field, errors = next(iter(form.errors.items()))
    return ApiError(422, "invalid", str(errors[0]), ({NON_FIELD_ERRORS: None} | names).get(field, field))
