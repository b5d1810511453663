"""The language of grub.cfg, as far as `grub_bhyve` says: what a file boots, without a menu and without waiting."""

from __future__ import annotations

import re
from typing import Any

from bhype.lab.grub_disk import Places, Unreadable

_TOKEN = re.compile(
    r"""\\\n|[ \t]+|\#[^\n]*|(?P<end>[\n;])|(?P<brace>[{}])"""
    r"""|(?P<word>(?:'[^']*'|"(?:\\.|[^"\\])*"|\\.|\$\{\w+\}|[^\s;{}'"\\])+)"""
)
_PART = re.compile(r"""'([^']*)'|"((?:\\.|[^"\\])*)"|\\(.)|([^'"\\]+)""", re.DOTALL)
_VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)|\$(\?)")
_DEPTH = 20  # of files that load each other

Words = list[str]


class _Boot(Exception):
    """The command boot."""


class Script:
    """Runs a script; afterwards `kernel`, `initrd`, `append`, `booted` and `said` tell what came out of it."""

    def __init__(self, places: Places, root: str, *, insert_console: bool) -> None:
        self.places = places
        self.variables = {"root": root, "default": "0", "grub_platform": "bhyve", "grub_cpu": "x86_64"}
        self.insert_console = insert_console
        self.entries: list[tuple[Words, list[str]]] = []
        self.kernel: bytes | None = None
        self.initrd: bytes | None = None
        self.append = ""
        self.booted = False
        self.said: list[str] = []
        self.depth = 0

    def run(self, text: str) -> None:
        """Run the whole: first the file, then the menu's default entry."""
        try:
            self._block(_tokens(text))
            if self.kernel is None:
                self._menu()
                self.booted = self.booted or self.kernel is not None
        except _Boot:
            self.booted = True

    def _menu(self) -> None:
        wanted = self.variables.get("default", "0")
        for _ in range(_DEPTH):  # a submenu's entries come in its place
            if not self.entries:
                return
            first, _, rest = wanted.partition(">")
            entries, self.entries = self.entries, []
            number = int(first) if first.isdigit() and int(first) < len(entries) else 0
            ids = [words[words.index("--id") + 1] if "--id" in words[:-1] else "" for words, _ in entries]
            titles = [words[0] if words else "" for words, _ in entries]
            chosen = titles.index(first) if first in titles else ids.index(first) if first in ids else number
            wanted = rest or "0"
            self._block(entries[chosen][1])

    # --- the language

    def _block(self, tokens: list[str]) -> bool:
        at, result = 0, True
        while at < len(tokens):
            line, at = _line(tokens, at)
            if not line:
                continue
            if line[0] == "if":
                at, result = self._if(tokens, at, line[1:])
            elif line[0] in ("menuentry", "submenu", "function"):
                body, at = _body(tokens, at)
                if line[0] != "function":
                    self.entries.append(([self._expand(word) for word in line[1:]], body))
            else:
                result = self._command([self._expand(word) for word in line])
        return result

    def _if(self, tokens: list[str], at: int, condition: Words) -> tuple[int, bool]:
        """The branches up to the matching fi; runs the first whose condition holds."""
        branches: list[tuple[Words, list[str]]] = [(condition, [])]
        depth = 0
        while at < len(tokens):
            line, after = _line(tokens, at)
            verb = line[0] if line else ""
            if verb == "fi" and depth == 0:
                at = after
                break
            if depth == 0 and verb in ("elif", "else"):
                branches.append((line[1:] if verb == "elif" else ["true"], []))
            elif depth or verb != "then":
                depth += (verb == "if") - (verb == "fi")
                branches[-1][1].extend(tokens[at:after])
            at = after
        for words, body in branches:
            if self._command([self._expand(word) for word in words]):
                return at, self._block(body)
        return at, True

    def _expand(self, word: str) -> str:
        out = ""
        for match in _PART.finditer(word):
            single, double, escaped, plain = match.groups()
            if single is not None:
                out += single
            elif escaped is not None:
                out += escaped
            else:
                text = re.sub(r"\\(.)", r"\1", double) if double is not None else plain
                out += _VARIABLE.sub(lambda found: self.variables.get(found[1] or found[2] or "", ""), text)
        return out

    # --- commands

    def _command(self, words: Words) -> bool:
        if not words or not words[0]:
            return True
        verb, arguments = words[0], words[1:]
        if verb == "!":
            return not self._command(arguments)
        match = re.fullmatch(r"(\w+)=(.*)", verb, re.DOTALL)
        if match and not arguments:
            return self._set(verb)
        known: dict[str, Any] = {
            "set": self._set, "[": self._test, "test": self._test, "search": self._search, "linux": self._linux,
            "linux16": self._linux, "linuxefi": self._linux, "initrd": self._initrd, "initrd16": self._initrd,
            "initrdefi": self._initrd, "configfile": self._file, "source": self._file, "boot": self._boot,
            "chainloader": self._chain, "echo": self._echo,
        }  # fmt: skip
        if verb == "false":
            return False
        call = known.get(verb)
        return True if call is None else bool(call(*arguments))

    def _set(self, *words: str) -> bool:
        for word in words:
            name, equals, value = word.partition("=")
            if equals:
                self.variables[name] = value
                if name == "root":
                    self.places.root = value.strip("()")
        return True

    def _test(self, *words: str) -> bool:
        if words[-1:] == ("]",):
            words = words[:-1]
        if words[:1] == ("!",):
            return not self._test(*words[1:])
        for joint, combine in (("-o", any), ("-a", all)):
            if joint in words[1:-1]:
                at = words.index(joint)
                return combine((self._test(*words[:at]), self._test(*words[at + 1 :])))
        if len(words) == 2 and words[0] in ("-e", "-f", "-d", "-s"):
            return self.places.exists(words[1], {"-s": "f"}.get(words[0], words[0][1]))
        if len(words) == 2 and words[0] in ("-n", "-z"):
            return bool(words[1]) == (words[0] == "-n")
        if len(words) == 3 and words[1] in ("=", "==", "!="):
            return (words[0] == words[2]) != (words[1] == "!=")
        return len(words) == 1 and bool(words[0])

    def _search(self, *words: str) -> bool:
        """Only for a file (-f); labels and UUIDs leave the root as it is."""
        variable, kind, operands = "root", "", []
        rest = list(words)
        while rest:
            word = rest.pop(0)
            if word.startswith("--set="):
                variable = word[6:]
            elif word in ("--set", "-s") and rest:
                variable = rest.pop(0) if not rest[0].startswith("-") and len(rest) > 1 else "root"
            elif word in ("-f", "--file"):
                kind = "file"
            elif not word.startswith("-"):
                operands.append(word)
        if kind != "file" or not operands:
            return True
        for place in self.places.places():
            if self.places.exists(f"({place}){operands[0]}", "f"):
                return self._set(f"{variable}={place}")
        self.said.append(f"error: no such device: {operands[0]}.")
        return False

    def _linux(self, *words: str) -> bool:
        kernel = self._read(words[0]) if words else None
        if kernel is None:
            return False
        arguments = list(words[1:])
        if self.insert_console and not any(word.startswith("console=") for word in arguments):
            arguments.append("console=ttyS0")
        self.kernel, self.initrd = kernel, None
        self.append = " ".join([f"BOOT_IMAGE={words[0]}", *arguments])
        return True

    def _initrd(self, *words: str) -> bool:
        if self.kernel is None:
            self.said.append("error: you need to load the kernel first.")
            return False
        parts = [self._read(word) for word in words]
        if not parts or None in parts:
            return False
        self.initrd = b"".join(part for part in parts if part)
        return True

    def _file(self, *words: str) -> bool:
        content = self._read(words[0]) if words else None
        if content is None or self.depth > _DEPTH:
            return False
        self.depth += 1
        self._block(_tokens(content.decode(errors="replace")))
        self.depth -= 1
        return True

    def _boot(self, *words: str) -> bool:
        raise _Boot

    def _chain(self, *words: str) -> bool:
        self.booted = True
        return True

    def _echo(self, *words: str) -> bool:
        self.said.append(" ".join(word for word in words if word != "-n"))
        return True

    def _read(self, path: str) -> bytes | None:
        try:
            return self.places.read(path)
        except Unreadable as error:
            self.said.append(f"error: {error}")
            return None


def _tokens(text: str) -> list[str]:
    """``word:...``, ``end`` and braces; comments and blanks are gone."""
    found, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if not match:
            at += 1  # a quotation mark without its other half
            continue
        at = match.end()
        if match["end"]:
            found.append("end")
        elif match["brace"]:
            found.append(match["brace"])
        elif match["word"]:
            found.append("word:" + match["word"])
    return found


def _line(tokens: list[str], at: int) -> tuple[Words, int]:
    """The words up to the end of the command, and where the next begins; an opening brace is left."""
    words: Words = []
    while at < len(tokens):
        token = tokens[at]
        if token == "{" and words:
            return words, at
        at += 1
        if token == "end" and words:
            return words, at
        if token.startswith("word:"):
            words.append(token[5:])
            if words in (["then"], ["else"]):  # a command of its own
                return words, at
    return words, at


def _body(tokens: list[str], at: int) -> tuple[list[str], int]:
    """What stands in braces from ``at`` on, and where it ends."""
    depth, start = 0, at + 1
    while at < len(tokens):
        depth += (tokens[at] == "{") - (tokens[at] == "}")
        at += 1
        if depth == 0:
            break
    return tokens[start : at - 1], at
