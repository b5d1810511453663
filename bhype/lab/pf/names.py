"""Names that pf.conf(5) has for numbers: protocols, services, ICMP types and codes, flags, timeouts, limits.

Source: S:sbin/pfctl/pfctl_parser.c, S:usr.sbin/services_mkdb/services, protocols(5).
"""

from __future__ import annotations

PROTOCOLS = {
    **{"icmp": 1, "igmp": 2, "ipencap": 4, "tcp": 6, "egp": 8, "igp": 9, "udp": 17, "ipv6": 41},
    **{"rsvp": 46, "gre": 47, "esp": 50, "ah": 51, "ipv6-icmp": 58, "eigrp": 88, "ospf": 89, "ipip": 94},
    **{"etherip": 97, "pim": 103, "carp": 112, "l2tp": 115, "sctp": 132, "udplite": 136, "pfsync": 240},
}
# protocols(5) knows these as other names of the same.
PROTOCOL_ALIASES = {"icmp6": 58, "ip6": 41, "vrrp": 112, "ospfigp": 89}
TCP, UDP, ICMP, ICMP6, SCTP = 6, 17, 1, 58, 132
PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}
SERVICES = {
    **{
        "echo": 7,
        "discard": 9,
        "daytime": 13,
        "ftp-data": 20,
        "ftp": 21,
        "ssh": 22,
        "telnet": 23,
        "smtp": 25,
    },
    **{"time": 37, "domain": 53, "bootps": 67, "bootpc": 68, "tftp": 69, "finger": 79, "http": 80},
    **{"kerberos-sec": 88, "pop3": 110, "sunrpc": 111, "auth": 113, "ntp": 123, "epmap": 135},
    **{"netbios-ns": 137, "netbios-dgm": 138, "netbios-ssn": 139, "imap": 143, "snmp": 161, "snmptrap": 162},
    **{"bgp": 179, "irc": 194, "ldap": 389, "https": 443, "microsoft-ds": 445, "isakmp": 500, "syslog": 514},
    **{"printer": 515, "submission": 587, "ipp": 631, "ldaps": 636, "domain-s": 853, "rsync": 873},
    **{"iscsi": 860, "ftps": 990, "imaps": 993, "pop3s": 995, "socks": 1080, "openvpn": 1194, "l2tp": 1701},
    **{"pptp": 1723, "radius": 1812, "radius-acct": 1813, "nfsd": 2049, "iscsi-target": 3260, "mysql": 3306},
    **{"rdp": 3389, "svn": 3690, "vxlan": 4789, "sip": 5060, "sip-tls": 5061, "xmpp-client": 5222},
    **{"mdns": 5353, "postgresql": 5432, "vnc-server": 5900, "x11": 6000, "redis": 6379, "irc-serv": 529},
    **{
        "http-alt": 8080,
        "spamd": 8025,
        "ftp-proxy": 8021,
        "bacula-dir": 9101,
        "git": 9418,
        "zabbix-agent": 10050,
    },
}
SERVICE_NAMES = {number: name for name, number in SERVICES.items()}
# Names that are given but never printed: the first of a number in services(5) is.
SERVICE_ALIASES = {
    "www": 80,
    "mail": 25,
    "nameserver": 53,
    "dns": 53,
    "ident": 113,
    "rpcbind": 111,
    "nfs": 2049,
}
FLAGS = "FSRPAUEW"
ICMP_TYPES = {
    **{"echorep": 0, "unreach": 3, "squench": 4, "redir": 5, "althost": 6, "echoreq": 8, "routeradv": 9},
    **{"routersol": 10, "timex": 11, "paramprob": 12, "timereq": 13, "timerep": 14, "inforeq": 15},
    **{"inforep": 16, "maskreq": 17, "maskrep": 18, "trace": 30, "dataconv": 31, "mobredir": 32},
    **{"ipv6-where": 33, "ipv6-here": 34, "mobregreq": 35, "mobregrep": 36, "skip": 39, "photuris": 40},
}
ICMP6_TYPES = {
    **{
        "unreach": 1,
        "toobig": 2,
        "timex": 3,
        "paramprob": 4,
        "echoreq": 128,
        "echorep": 129,
        "groupqry": 130,
    },
    **{"listqry": 130, "grouprep": 131, "listenrep": 131, "groupterm": 132, "listendone": 132},
    **{"routersol": 133, "routeradv": 134, "neighbrsol": 135, "neighbradv": 136, "redir": 137},
    **{"routrrenum": 138, "wrureq": 139, "fqdnreq": 139, "niqry": 139, "wrurep": 140, "fqdnrep": 140},
    **{"nirep": 140, "mtraceresp": 200, "mtrace": 201, "listenrepv2": 206},
}
ICMP_CODES = {
    3: {
        **{"net-unr": 0, "host-unr": 1, "proto-unr": 2, "port-unr": 3, "needfrag": 4, "srcfail": 5},
        **{"net-unk": 6, "host-unk": 7, "isolate": 8, "net-prohib": 9, "host-prohib": 10, "net-tos": 11},
        **{"host-tos": 12, "filter-prohib": 13, "host-preced": 14, "cutoff-preced": 15},
    },
    5: {"redir-net": 0, "redir-host": 1, "redir-tos-net": 2, "redir-tos-host": 3},
    9: {"normal-adv": 0, "common-adv": 16},
    11: {"transit": 0, "reassemb": 1},
    12: {"badhead": 0, "optmiss": 1, "badlen": 2},
    40: {"unknown-ind": 0, "auth-fail": 1, "decrypt-fail": 2},
}
ICMP6_CODES = {
    1: {"noroute-unr": 0, "admin-unr": 1, "notnbr-unr": 2, "beyond-unr": 2, "addr-unr": 3, "port-unr": 4},
    3: {"transit": 0, "reassemb": 1},
    4: {"badhead": 0, "nxthdr": 1},
    137: {"redironlink": 0, "redirrouter": 1},
}
TOS = {
    "lowdelay": 0x10,
    "throughput": 0x08,
    "reliability": 0x04,
    "critical": 0xA0,
    "inetcontrol": 0xC0,
    "netcontrol": 0xE0,
}
TIMEOUTS = {
    **{"tcp.first": 120, "tcp.opening": 30, "tcp.established": 86400, "tcp.closing": 900, "tcp.finwait": 45},
    **{"tcp.closed": 90, "tcp.tsdiff": 30, "sctp.first": 120, "sctp.opening": 30, "sctp.established": 86400},
    **{"sctp.closing": 900, "sctp.closed": 90, "udp.first": 60, "udp.single": 30, "udp.multiple": 60},
    **{"icmp.first": 20, "icmp.error": 10, "other.first": 60, "other.single": 30, "other.multiple": 60},
    **{"frag": 60, "interval": 10, "adaptive.start": 60000, "adaptive.end": 120000, "src.track": 0},
}
LIMITS = {"states": 100000, "src-nodes": 10000, "frags": 5000, "table-entries": 200000}


def protocol(word: str) -> int | None:
    """The number of a protocol in letters or digits; None for an unknown one."""
    if word.isdigit():
        return int(word) if int(word) < 256 else None
    return PROTOCOLS.get(word, PROTOCOL_ALIASES.get(word))


def service(word: str) -> int | None:
    """The number of a port in letters or digits; None for an unknown one."""
    if word.isdigit():
        return int(word) if int(word) < 65536 else None
    return SERVICES.get(word, SERVICE_ALIASES.get(word))


def name_of(table: dict[str, int], number: int) -> str:
    """The first name that ``table`` has for ``number``, or the number itself."""
    return next((name for name, each in table.items() if each == number), str(number))
