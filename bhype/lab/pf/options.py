"""What follows the hosts of a rule: filter options, state options, logging. Source: as `words`."""

from __future__ import annotations

import re

from bhype.lab.pf import names
from bhype.lab.pf.pools import Pools
from bhype.lab.pf.rules import RETURN_CODES
from bhype.lab.pf.words import LABEL, TABLE_NAME, TAG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Fields = dict[str, Any]

# The order in which print_rule() tells the options of a state.
_LIMITS = (
    *(
        "max",
        "no-sync",
        "source-track",
        "max-src-states",
        "max-src-conn",
        "max-src-conn-rate",
        "max-src-nodes",
    ),
    *("overload", "if-bound", "sloppy", *names.TIMEOUTS),
)


class Options(Pools):
    """filter_opts and its kin of parse.y. internal: the text is what `show` printed."""

    internal = False

    def logging(self) -> tuple[str, ...] | None:
        """``log`` with its options, or None."""
        if not self.accept("log"):
            return None
        if not self.accept("("):
            return ()
        found = []
        while True:
            word = self.accept("all", "user", "group", "to") or self.wrong()
            if word == "to":
                name = self.string()
                if not re.fullmatch(r"pflog[0-9]+", name):
                    self.refuse(f"log interface {name} does not exist" if name else "only pflog interfaces")
                word = f"to {name}"
            found.append("user" if word == "group" else word)
            self.accept(",")
            if self.accept(")"):
                break
        order = [word for word in ("all", "user") if word in found]
        return (*order, *(word for word in found if word.startswith("to ") and word != "to pflog0"))

    def options(self, *, translation: bool = False) -> Fields:
        """All options up to the end of a rule; lists stay lists for `expand`."""
        found: Fields = {}
        while self.peek()[0] not in ("\n", "end", "{", "->"):
            self._option(found, translation=translation)
        return found

    def _option(self, found: Fields, *, translation: bool) -> None:
        if self.sees("!") or self.sees("tagged"):
            found["tagged_negated"] = bool(self.accept("!"))
            self.expect("tagged")
            found["tagged"] = self._tag()
        elif self.accept("tag"):
            found["tag"] = self._tag()
        elif self.accept("rtable"):
            found["table_number"] = self.number(0, 0, "invalid rtable id")
        elif self.internal and self.accept("("):  # after a probability, print_rule() puts them there
            found["limits"] = self.state_options()
            self.expect(")")
        elif self.internal and self.sees("no-df", "random-id", "min-ttl", "max-mss", "set-tos", "reassemble"):
            self.scrub_option(found)  # print_rule() leaves out that they stand in "scrub (...)"
        elif translation:
            self.wrong()
        elif self.says("scrub") or self.sees("scrub"):
            self.take()
            self._scrubbing(found)
        else:
            word = self.accept(*_WORDS) or self.wrong()
            _WORDS[word](self, found)

    def _tag(self) -> str:
        name = self.string()
        if len(name) > TAG:
            self.refuse(f"tag too long, max {TAG} chars")
        return name

    def _once(self, found: Fields, key: str, reason: str) -> None:
        if key in found:
            self.refuse(reason)

    def _user(self, found: Fields) -> None:
        found.setdefault("user", []).extend(self.several(lambda: self.identity("user")))

    def _group(self, found: Fields) -> None:
        found.setdefault("group", []).extend(self.several(lambda: self.identity("group")))

    def _flags(self, found: Fields) -> None:
        self._once(found, "flags", "flags cannot be redefined")
        if self.accept("any"):
            found["flags"] = ("", "")
            return
        flags = self.string() if self.is_string() else ""
        self.expect("/")
        flag_set = self.string() if self.is_string() else names.FLAGS
        if set(flags + flag_set) - set(names.FLAGS):
            self.refuse(f"invalid flags {flags}/{flag_set}")
        if set(flags) - set(flag_set):
            self.refuse(f"invalid flags {flags}/{flag_set}")
        found["flags"] = tuple(
            "".join(each for each in names.FLAGS if each in part) for part in (flags, flag_set)
        )

    def _icmp(self, found: Fields) -> None:
        self._icmp_types(found, six=False)

    def _icmp6(self, found: Fields) -> None:
        self._icmp_types(found, six=True)

    def _icmp_types(self, found: Fields, *, six: bool) -> None:
        self._once(found, "icmp", "icmp-type cannot be redefined")
        found["icmp"] = [(*each, six) for each in self.several(lambda: self._icmp_type(six=six))]

    def _icmp_type(self, *, six: bool) -> tuple[int, int]:
        word = self.name_or_number()
        types = names.ICMP6_TYPES if six else names.ICMP_TYPES
        kind = int(word) if word.isdigit() else types.get(word, -1)
        if kind < 0:
            self.refuse(f"unknown icmp{'6' * six}-type {word}")
        if kind > 255:
            self.refuse(f"illegal icmp-type {kind}")
        if not self.accept("code"):
            return kind + 1, 0
        return kind + 1, self.code(kind, six=six) + 1

    def code(self, kind: int, *, six: bool) -> int:
        """An ICMP code of the type ``kind``."""
        word = self.name_or_number()
        codes = (names.ICMP6_CODES if six else names.ICMP_CODES).get(kind, {})
        code = int(word) if word.isdigit() else codes.get(word, -1)
        if code < 0:
            self.refuse(f"unknown icmp{'6' * six}-code {word}")
        if code > 255:
            self.refuse(f"illegal icmp-code {code}")
        return code

    def tos(self) -> int:
        word = self.name_or_number()
        if word in names.TOS:
            return names.TOS[word]
        try:
            found = int(word, 16) if word.startswith("0x") else int(word)
        except ValueError:
            found = -1
        if not 0 < found < 256:
            self.refuse(f"illegal tos value {word}")
        return found

    def _tos(self, found: Fields) -> None:
        self._once(found, "tos", "tos cannot be redefined")
        found["tos"] = self.tos()

    def _priority(self, found: Fields) -> None:
        self._once(found, "priority", "prio cannot be redefined")
        found["priority"] = self.number(0, 7, "prio must be 0 - 7")

    def _set(self, found: Fields) -> None:
        several = self.accept("(")
        while True:
            self.expect("prio")
            if self.accept("("):
                low = self.number(0, 7)
                self.accept(",")
                high = low if self.sees(")") else self.number(0, 7)
                self.expect(")")
            else:
                low = high = self.number(0, 7)
            found["set_priority"] = (low, high)
            self.accept(",")
            if not several or self.accept(")"):
                return

    def _state(self, found: Fields, word: str) -> None:
        self._once(found, "keep", "modulate or keep cannot be redefined")
        self.expect("state")
        found["keep"] = "" if word == "no" else word
        if self.accept("("):
            found["limits"] = self.state_options()
            self.expect(")")

    def _no(self, found: Fields) -> None:
        self._state(found, "no")

    def _keep(self, found: Fields) -> None:
        self._state(found, "keep")

    def _modulate(self, found: Fields) -> None:
        self._state(found, "modulate")

    def _synproxy(self, found: Fields) -> None:
        self._state(found, "synproxy")

    def state_options(self) -> tuple[str, ...]:
        """state_opt_list, as it is printed."""
        found: dict[str, str] = {}
        while not self.sees(")") and self.peek()[0] not in ("\n", "end"):
            self._state_option(found)
            self.accept(",")
        if "source-track" not in found and any(each.startswith("max-src") for each in found):
            rule = "max-src-nodes" in found or "max-src-states" in found
            found["source-track"] = f"source-track {'rule' if rule else 'global'}"
        return tuple(found[each] for each in _LIMITS if each in found)

    def _state_option(self, found: dict[str, str]) -> None:
        word = self.accept("max", "max-src-nodes", "max-src-states", "max-src-conn")
        if word:
            self._new_limit(found, word, f"{word} {self.number(1)}")
        elif self.accept("max-src-conn-rate"):
            count = self.number(1)
            self.expect("/")
            self._new_limit(found, "max-src-conn-rate", f"max-src-conn-rate {count}/{self.number(1)}")
        elif word := self.accept("no-sync", "if-bound", "sloppy"):
            self._new_limit(found, word, word)
        elif self.accept("floating"):
            self._new_limit(found, "if-bound", "")
            del found["if-bound"]
        elif self.accept("source-track"):
            self._new_limit(
                found, "source-track", f"source-track {self.accept('global', 'rule') or 'global'}"
            )
        elif self.accept("overload"):
            self.expect("<")
            name = self.string()
            if len(name) > TABLE_NAME:
                self.refuse(f"table name '{name}' too long")
            self.expect(">")
            flush = " flush" if self.accept("flush") else ""
            self._new_limit(
                found, "overload", f"overload <{name}>{flush}{' global' * bool(self.accept('global'))}"
            )
        else:
            word = self.accept("interval") or self.string()
            if word not in names.TIMEOUTS:
                self.refuse(f"illegal state timeout name {word}")
            self._new_limit(found, word, f"{word} {self.number()}")

    def _new_limit(self, found: dict[str, str], key: str, text: str) -> None:
        if key in found:
            self.refuse(f"state option: '{key}' redefined")
        found[key] = text

    def _fragment(self, found: Fields) -> None:
        found["fragment"] = True

    def _allow_options(self, found: Fields) -> None:
        found["allow_options"] = True

    def label(self) -> str:
        text = self.string()
        if len(text) > LABEL:
            self.refuse(f"rule label too long (max {LABEL} chars)")
        return text

    def _label(self, found: Fields) -> None:
        labels = found.setdefault("labels", [])
        if len(labels) >= 5:
            self.refuse("label can only be used 5 times")
        labels.append(self.label())

    def _identifier(self, found: Fields) -> None:
        found["identifier"] = self.number(1, reason="invalid ridentifier")

    def _queue(self, found: Fields) -> None:
        if self.accept("("):
            found["queue"] = [self.string()]
            self.accept(",")
            if not self.sees(")"):
                found["queue"].append(self.string())
            self.expect(")")
        else:
            found["queue"] = [self.string()]

    def _probability(self, found: Fields) -> None:
        self._once(found, "probability", "probability cannot be redefined")
        word = self.name_or_number()
        try:
            part = float(word.removesuffix("%")) / (100 if word.endswith("%") else 1)
        except ValueError:
            self.refuse(f'invalid probability "{word}"')
        if not 0 <= part <= 1:
            self.refuse("probability must be within 0% and 100%")
        found["probability"] = f"{part * 100:f}".rstrip("0").rstrip(".")

    def _divert(self, found: Fields) -> None:
        found["divert"] = self.port()
        if not found["divert"]:
            self.refuse("invalid divert port")

    def _pipe(self, found: Fields, word: str) -> None:
        if self.accept("("):
            low = self.number(1)
            self.accept(",")
            high = self.number(1)
            self.expect(")")
            found["pipe"] = f"{word}({low}, {high})"
        else:
            found["pipe"] = f"{word} {self.number(1, 65535, 'invalid pipe number')}"

    def _dnpipe(self, found: Fields) -> None:
        self._pipe(found, "dnpipe")

    def _dnqueue(self, found: Fields) -> None:
        self._pipe(found, "dnqueue")

    def _turn(self, found: Fields, word: str) -> None:
        self._once(found, "turns", f"cannot respecify {word}")
        found["turns"] = word
        found["pool"] = self.redirection(word.removesuffix("-to"), None)

    def _nat_to(self, found: Fields) -> None:
        self._turn(found, "nat-to")

    def _rdr_to(self, found: Fields) -> None:
        self._turn(found, "rdr-to")

    def _scrubbing(self, found: Fields) -> None:
        self.expect("(")
        while not self.accept(")"):
            self.scrub_option(found)
            self.accept(",")

    def scrub_option(self, found: Fields) -> None:
        """One of scrub's own options."""
        scrub: list[str] = found.setdefault("scrub", [])
        word = self.accept(
            "no-df", "random-id", "min-ttl", "max-mss", "set-tos", "fragment", "reassemble", "rtable"
        )
        if word in ("no-df", "random-id"):
            scrub.append(word)
        elif word == "min-ttl":
            scrub.append(f"min-ttl {self.number(0, 255, 'illegal min-ttl value')}")
        elif word == "max-mss":
            scrub.append(f"max-mss {self.number(0, 65535, 'illegal max-mss value')}")
        elif word == "set-tos":
            scrub.append(f"set-tos 0x{self.tos():02x}")
        elif word == "rtable":
            found["table_number"] = self.number(0, 0, "invalid rtable id")
        elif word == "fragment":
            if not (self.accept("reassemble", "drop") or self.says("crop", "no")):
                self.wrong()
            if self.says("crop", "no"):
                self.take()
        elif word == "reassemble":
            if self.string() != "tcp":
                self.refuse("scrub reassemble supports only tcp")
            scrub.append("reassemble tcp")
        else:
            self.wrong()

    def codes_of_return(self, word: str) -> tuple[int, int]:
        """The codes of ``return-icmp(...)`` or ``return-icmp6(...)``, with the defaults."""
        four, six = RETURN_CODES
        if not self.accept("("):
            return four, six
        if word == "return-icmp6":
            six = 0x0100 | self.code(1, six=True)
        else:
            four = 0x0300 | self.code(3, six=False)
            if self.accept(",") or not self.sees(")"):
                six = 0x0100 | self.code(1, six=True)
        self.expect(")")
        return four, six


_WORDS = {
    "user": Options._user,
    "group": Options._group,
    "flags": Options._flags,
    "icmp-type": Options._icmp,
    "icmp6-type": Options._icmp6,
    "tos": Options._tos,
    "prio": Options._priority,
    "set": Options._set,
    "no": Options._no,
    "keep": Options._keep,
    "modulate": Options._modulate,
    "synproxy": Options._synproxy,
    "fragment": Options._fragment,
    "allow-opts": Options._allow_options,
    "label": Options._label,
    "ridentifier": Options._identifier,
    "queue": Options._queue,
    "probability": Options._probability,
    "divert-to": Options._divert,
    "dnpipe": Options._dnpipe,
    "dnqueue": Options._dnqueue,
    "nat-to": Options._nat_to,
    "rdr-to": Options._rdr_to,
}
