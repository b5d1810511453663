"""Words of a pf.conf(5), as yylex() in S:sbin/pfctl/parse.y takes them apart.

A token is ``(kind, text, line)``; kind is "string" (in quotes), "word", "number", "\\n", "end", or a sign of its own:
``( ) { } < > ! = / , - & <> >< ->``. Words of the grammar are recognised by the parser, as "word" tokens alone
(text in quotes is never one of them).
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    Token = tuple[str, str, int]

_SKIPPED = re.compile(r"(?:[ \t\r]+|\\\n|#[^\n]*)+")
# What ends a string besides space is in allowed_in_string() of parse.y, what ends a number in allowed_to_end_number().
_WORD = re.compile(r"[A-Za-z0-9:_](?:[\x21-\x7e](?<![(){}<>!=/#,\\])|\\(?!\n))*")
_NUMBER = re.compile(r"-?[0-9]+(?=[\s),/}=]|\Z)")


class Undefined(Exception):
    """A macro that nobody has defined."""


class Lexer:
    """Reads ``text``; ``macros`` are looked up as they are met, so that a file can define them on its way."""

    def __init__(self, text: str, macros: dict[str, str]) -> None:
        self.text = text
        self.at = 0
        self.line = 1
        self.macros = macros
        self.inside: list[Token] = []

    def next(self) -> Token:
        """The next token. Raises Undefined; the rest of the line is then still to be read."""
        if self.inside:
            return self.inside.pop(0)
        self._skip()
        line = self.line
        if self.at >= len(self.text):
            return "end", "", line
        sign = self.text[self.at]
        if sign == "\n":
            self.at += 1
            self.line += 1
            return "\n", "\n", line
        if sign == "$":
            return self._macro(line)
        if sign in "\"'":
            return self._quoted(sign, line)
        pair = self.text[self.at : self.at + 2]
        if pair in ("<>", "><", "->"):
            self.at += 2
            return pair, pair, line
        for kind, pattern in (("number", _NUMBER), ("word", _WORD)):
            found = pattern.match(self.text, self.at)
            if found:
                self.at = found.end()
                return kind, found[0], line
        self.at += 1
        return sign, sign, line

    def rest_of_line(self) -> None:
        """Skip to the end of the line, which is left to be read."""
        self.inside.clear()
        while self.at < len(self.text) and self.text[self.at] != "\n":
            if self.text.startswith("\\\n", self.at):
                self.line += 1
                self.at += 1
            self.at += 1

    def _skip(self) -> None:
        found = _SKIPPED.match(self.text, self.at)
        if found:
            self.at = found.end()
            self.line += found[0].count("\n")

    def _macro(self, line: int) -> Token:
        self.at += 1
        name = ""
        while self.at < len(self.text) and (self.text[self.at].isalnum() or self.text[self.at] == "_"):
            name += self.text[self.at]
            self.at += 1
        if name not in self.macros:
            raise Undefined(name)
        inner = Lexer(self.macros[name].replace("$", " "), {})
        while (token := inner.next())[0] != "end":
            self.inside.append((token[0], token[1], line))
        return self.next()

    def _quoted(self, sign: str, line: int) -> Token:
        self.at += 1
        found = ""
        while self.at < len(self.text) and self.text[self.at] != sign:
            if self.text[self.at] == "\n":
                self.line += 1
            elif self.text.startswith("\\\n", self.at):
                self.at += 2
                self.line += 1
                continue
            elif self.text[self.at] == "\\" and self.text[self.at + 1 : self.at + 2] in (sign, " ", "\t"):
                self.at += 1
            found += self.text[self.at]
            self.at += 1
        if self.at >= len(self.text):
            return "end", "", line
        self.at += 1
        return "string", found, line
