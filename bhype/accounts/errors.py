"""An error that the API answers with: {"code", "message", "field"}."""

from __future__ import annotations


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
