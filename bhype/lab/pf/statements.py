"""The statements of pf.conf(5) that make rules. Source: as `parser`."""

from __future__ import annotations

import re

from bhype.lab.pf.expand import expand
from bhype.lab.pf.options import Options
from bhype.lab.pf.rules import ANY, INET, Address, EtherRule, Pool, Rule, Ruleset

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MAC = re.compile("[0-9a-fA-F]{1,2}(:[0-9a-fA-F]{1,2}){5}")
_LISTS = ("user", "group", "icmp")


class Statements(Options):
    """Each method reads one statement from its first word and adds its rules to ``ruleset``."""

    ruleset: Ruleset
    anonymous = 0

    def _fromto(self) -> dict[str, list[Any]]:
        lists: dict[str, list[Any]] = {}
        if self.accept("all"):
            return lists
        if self.accept("from"):
            lists["source"], lists["source_port"] = self._ipport()
        if self.accept("os"):
            lists["system"] = self.several(self.string)
        if self.accept("to"):
            lists["target"], lists["target_port"] = self._ipport()
            if any(each.kind == "urpf-failed" for each in lists["target"]):
                self.refuse('"urpf-failed" is not permitted in a destination address')
        return lists

    def _ipport(self) -> tuple[list[Address], list[Any]]:
        hosts = [ANY] if self.sees("port") else self.hosts()
        return hosts, list(self.operators())

    def _add(self, rule: Rule, lists: dict[str, list[Any]], pool: Pool | None = None) -> None:
        made = expand(rule, lists, self.tell, pool)
        self.ruleset.section(rule).extend(made)

    def _returns(self) -> dict[str, Any]:
        """What ``block`` does with a packet."""
        word = self.accept("drop", "return", "return-rst", "return-icmp", "return-icmp6")
        if not word:
            return {"returns": str(self._policy())}
        if word == "return-rst" and self.accept("("):
            self.expect("ttl")
            ttl = self.number(0, 255, "illegal ttl value")
            self.expect(")")
            return {"returns": word, "ttl": ttl}
        if word.startswith("return-icmp"):
            return {"returns": "return-icmp", "codes": self.codes_of_return(word)}
        return {"returns": word}

    def _policy(self) -> object:
        return self.ruleset.options.get("block-policy", "drop")

    def _log_quick(self) -> dict[str, Any]:
        log = self.logging()
        quick = bool(self.accept("quick"))
        return {"log": self.logging() if log is None else log, "quick": quick}

    def filter_rule(self) -> None:
        """pass, block and match."""
        action = self.take()[1]
        fields: dict[str, Any] = self._returns() if action == "block" else {}
        fields["direction"] = self.accept("in", "out")
        fields |= self._log_quick()
        lists: dict[str, list[Any]] = {"interface": self.interfaces()}
        fields["route"], fields["route_pool"] = self.route()
        fields["family"] = self.family()
        lists["protocol"] = self.protocols()
        lists |= self._fromto()
        found = self.options()
        self._take_options(found, fields, lists)
        if action == "pass":
            self._default_state(found, fields)
        if fields["route_pool"] and not fields["direction"]:
            self.refuse("direction must be explicit with rules that specify routing")
        if fields.get("turns") == "nat-to" and fields["direction"] == "in":
            self.refuse("nat-to can only be used on outbound rules")
        self._add(Rule(action, line=self.peek()[2], **fields), lists)

    def _take_options(
        self, found: dict[str, Any], fields: dict[str, Any], lists: dict[str, list[Any]]
    ) -> None:
        """Sort options into lists, which are expanded, and fields of the rule."""
        for key, value in found.items():
            if key in _LISTS:
                lists[key] = value
            elif key == "flags":
                fields["flags"], fields["flag_set"] = value
            else:
                fields[key] = tuple(value) if isinstance(value, list) else value

    def _default_state(self, found: dict[str, Any], fields: dict[str, Any]) -> None:
        if "keep" not in found:
            fields["keep"] = "keep"
            defaults = self.ruleset.options.get("state-defaults", ())
            fields.setdefault("limits", defaults)
        if "flags" not in found and fields["keep"] and not fields.get("fragment"):
            fields["flags"], fields["flag_set"] = "S", "SA"
        policy = self.ruleset.options.get("state-policy")
        if policy == "if-bound" and fields["keep"] and "if-bound" not in fields.get("limits", ()):
            fields["limits"] = (*fields.get("limits", ()), "if-bound")

    def scrub_rule(self) -> None:
        action = "no scrub" if self.accept("no") else "scrub"
        self.expect("scrub")
        fields: dict[str, Any] = {"direction": self.accept("in", "out")}
        fields |= self._log_quick()
        if fields["quick"]:
            self.refuse("scrub rules do not support 'quick'")
        lists: dict[str, list[Any]] = {"interface": self.interfaces()}
        fields["family"] = self.family()
        lists["protocol"] = self.protocols()
        lists |= self._fromto()
        found: dict[str, Any] = {}
        while self.peek()[0] not in ("\n", "end", "}"):
            self.scrub_option(found)
            self.accept(",")
        order = ("no-df", "random-id", "min-ttl", "max-mss", "set-tos", "reassemble")
        found["scrub"] = tuple(
            each for word in order for each in found.get("scrub", ()) if each.split()[0] == word
        )
        self._add(Rule(action, line=self.peek()[2], **fields, **found), lists)

    # -- translation ---------------------------------------------------------------------------------

    def _translating(self) -> tuple[str, dict[str, Any]]:
        negated = bool(self.accept("no"))
        word = self.expect("nat", "rdr", "binat")
        passes = bool(self.accept("pass"))
        if negated and passes:
            self.refuse('"pass" not valid with "no"')
        return ("no " if negated else "") + word, {"passes": passes, "log": self.logging()}

    def translation(self) -> None:
        """nat and rdr, and those with "no" before them."""
        action, fields = self._translating()
        lists: dict[str, list[Any]] = {"interface": self.interfaces()}
        fields["family"] = self.family()
        lists["protocol"] = self.protocols()
        lists |= self._fromto()
        fields |= self.options(translation=True)
        ports = lists.get("target_port") or [None]
        pool = self.redirection(action, ports[0]) if self.accept("->") else None
        if action.startswith("no ") and pool:
            self.refuse("translation rule with 'no' does not need '->'")
        if not action.startswith("no ") and not pool:
            self.refuse("translation rule requires '-> address'")
        if not fields["family"]:
            fields["family"] = self._family_of(lists, pool)
        self._add(Rule(action, line=self.peek()[2], **fields), lists, pool)

    def _family_of(self, lists: dict[str, list[Any]], pool: Pool | None) -> str:
        hosts = (
            *lists.get("source", ())[:1],
            *lists.get("target", ())[:1],
            *(pool.addresses[:1] if pool else ()),
        )
        return next((each.family for each in hosts if each.family), "")

    def binat(self) -> None:
        action, fields = self._translating()
        interface, negated = ("", False)
        if self.accept("on"):
            interface, negated = self.interface()
        fields["family"] = self.family()
        protocol = self.protocol() if self.accept("proto") else 0
        self.expect("from")
        source = self.hosts(route=False)
        target = self.hosts(route=False) if self.accept("to") else [ANY]
        fields |= self.options(translation=True)
        pool = self.redirection("binat", None) if self.accept("->") else None
        lists: dict[str, list[Any]] = {"source": source, "target": target}
        fields["family"] = fields["family"] or self._family_of(lists, pool)
        if not fields["family"]:
            self.refuse("address family (inet/inet6) undefined")
        if any(each.kind == "table" for each in source):
            self.refuse(f"invalid use of table <{source[0].value}> as the source address of a binat rule")
        if len(source) > 1 or len(target) > 1:
            self.refuse("multiple binat ip addresses")
        if action == "no binat" and pool:
            self.refuse("'no binat' rule does not need '->'")
        if action == "binat":
            self._check_binat(source[0], pool)
        lists |= {"interface": [(interface, negated)], "protocol": [protocol]}
        self._add(Rule(action, line=self.peek()[2], **fields), lists, pool)

    def _check_binat(self, source: Address, pool: Pool | None) -> None:
        if not pool:
            self.refuse("'binat' rule requires '-> address'")
        target = pool.addresses[0]
        if target.kind == "table":
            self.refuse(f"invalid use of table <{target.value}> as the redirect address of a binat rule")
        if len(pool.addresses) > 1:
            self.refuse("binat rule must redirect to a single address")
        if source.kind == target.kind == "net" and source.value.split("/")[1] != target.value.split("/")[1]:
            self.refuse("'binat' source mask and redirect mask must be the same")

    # -- anchors -------------------------------------------------------------------------------------

    def _anchor_name(self) -> str:
        name = self.string() if self.is_string() else ""
        if not self.internal and (name.startswith("_") or "/_" in name):
            self.refuse("anchor names beginning with '_' are reserved for internal use")
        if len(name) > 1023 or any(len(part) > 63 for part in name.split("/")):
            self.refuse(f"anchor name '{name}' too long")
        return name

    def translation_anchor(self) -> None:
        action = self.take()[1]
        name = self._anchor_name()
        if not name:
            self.wrong()
        lists: dict[str, list[Any]] = {"interface": self.interfaces()}
        fields: dict[str, Any] = {"family": self.family()}
        lists["protocol"] = self.protocols()
        lists |= self._fromto()
        if self.accept("rtable"):
            fields["table_number"] = self.number(0, 0, "invalid rtable id")
        for key in ("source", "target", "source_port", "target_port"):
            if len(lists.get(key, ())) > 1:
                self.refuse("no support for lists in translation anchors")
        self._add(Rule(action, anchor=name, line=self.peek()[2], **fields), lists)

    def anchor_rule(self) -> Ruleset | None:
        """``anchor``; the rule set in its braces if there are any, which then is read next."""
        self.take()
        name = self._anchor_name()
        fields: dict[str, Any] = {"direction": self.accept("in", "out"), "quick": bool(self.accept("quick"))}
        lists: dict[str, list[Any]] = {"interface": self.interfaces()}
        fields["family"] = self.family()
        lists["protocol"] = self.protocols()
        lists |= self._fromto()
        found = self.options()
        for word in ("keep", "limits", "labels", "queue", "route"):
            if word in found and word != "labels":
                self.refuse(
                    "anchor rules cannot keep state" if word == "keep" else f"anchor rules have no {word}"
                )
        self._take_options(found, fields, lists)
        inside = None
        if self.accept("{"):
            if not name:
                self.anonymous += 1
                name = f"_{self.anonymous}"
            inside = self.ruleset.anchors.setdefault(name, Ruleset())
            inside.options.update(self.ruleset.options)
        elif not name:
            self.refuse("anchor name required" if self.internal else "syntax error")
        self._add(Rule("anchor", anchor=name, line=self.peek()[2], **fields), lists)
        return inside

    def antispoof(self) -> None:
        self.take()
        fields = self._log_quick()
        self.expect("for")
        interfaces = self.several(self._antispoof_interface)
        fields["family"] = self.family()
        while word := self.accept("label", "ridentifier"):
            if word == "label":
                fields["labels"] = (*fields.get("labels", ()), self.label())
            else:
                fields["identifier"] = self.number(1)
        rule = Rule("block", returns="drop", direction="in", line=self.peek()[2], **fields)
        for name, is_dynamic in interfaces:
            nets = self._own(name, ":network", is_dynamic=is_dynamic)
            if nets:
                self._add(rule, {"interface": [(name, True)], "source": nets})
            loopback = [each for each in self.world.members(name) if self.world.interfaces[each].is_loopback]
            addresses = self._own(name, "", is_dynamic=is_dynamic)
            if addresses and not loopback:
                self._add(rule, {"source": addresses})

    def _antispoof_interface(self) -> tuple[str, bool]:
        if self.accept("("):
            name = self.interface()[0]
            self.expect(")")
            return name, True
        name, negated = self.interface()
        if negated:
            self.wrong()
        return name, False

    def _own(self, name: str, modifier: str, *, is_dynamic: bool) -> list[Address]:
        modifiers = (modifier,) if modifier else ()
        if is_dynamic:
            return [Address("dynamic", name, modifiers=modifiers)]
        found = self.world.addresses(name, modifiers)
        return [Address("net", each, family=INET if "." in each else "inet6") for each in found]

    # -- frames --------------------------------------------------------------------------------------

    def ether_rule(self) -> None:
        """Rules of FreeBSD 14 about frames."""
        if self.world.release < 14:
            self.wrong()
        self.take()
        anchor = ""
        if self.accept("anchor"):
            action, anchor = "anchor", self._anchor_name()
        else:
            action = self.expect("pass", "block")
        fields: dict[str, Any] = {"direction": self.accept("in", "out"), "quick": bool(self.accept("quick"))}
        interfaces = self.interfaces()
        if self.accept("bridge-to"):
            fields["bridge_to"] = self.interface()[0]
        protocols = self.several(self._ether_protocol) if self.accept("proto") else [0]
        sources = self._macs() if self.accept("from") else [("", False)]
        targets = self._macs() if self.accept("to") else [("", False)]
        hosts = self._fromto() if self.accept("l3") else {}
        while word := self.accept("queue", "tag", "tagged", "label", "ridentifier", "dnpipe", "dnqueue"):
            if word == "label":
                fields["labels"] = (*fields.get("labels", ()), self.label())
            elif word == "ridentifier":
                fields["identifier"] = self.number(1)
            elif word in ("dnpipe", "dnqueue"):
                fields["pipe"] = f"{word} {self.number(1, 65535)}"
            else:
                fields[word] = self._tag()
        for interface, negated in interfaces:
            for protocol in protocols:
                for source, no_source in sources:
                    for target, no_target in targets:
                        for ip_source in hosts.get("source", [ANY]):
                            for ip_target in hosts.get("target", [ANY]):
                                family = ip_source.family or ip_target.family
                                implied = {"inet": 0x0800, "inet6": 0x86DD}.get(family, 0)
                                self.ruleset.ether.append(
                                    EtherRule(
                                        action,
                                        anchor,
                                        interface=interface,
                                        interface_negated=negated,
                                        protocol=protocol or implied,
                                        source=source,
                                        source_negated=no_source,
                                        target=target,
                                        target_negated=no_target,
                                        ip_source=ip_source,
                                        ip_target=ip_target,
                                        line=self.peek()[2],
                                        **fields,
                                    )
                                )

    def _ether_protocol(self) -> int:
        word = self.name_or_number()
        try:
            found = int(word, 16) if word.startswith("0x") else int(word)
        except ValueError:
            found = 0
        if not 0 < found < 0x10000:
            self.refuse(f"unknown protocol {word}")
        return found

    def _macs(self) -> list[tuple[str, bool]]:
        return self.several(self._mac)

    def _mac(self) -> tuple[str, bool]:
        negated = bool(self.accept("!"))
        word, sign, mask = self.string().partition("&")
        if not _MAC.fullmatch(word) or (sign and not _MAC.fullmatch(mask)):
            self.refuse("invalid MAC address")
        text = ":".join(f"{int(part, 16):02x}" for part in word.split(":"))
        if self.accept("/"):
            bits = self.number(0, 48, "invalid MAC mask length")
            return (text if bits == 48 else f"{text}/{bits}"), negated
        return text + sign + mask.lower(), negated
