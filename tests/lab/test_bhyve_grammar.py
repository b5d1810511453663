"""What bhyve's command line sets and refuses, from the facts (bhyve.md 2, 3, 5, 6). No guest runs here."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhype.lab import bhyve, bhyve_config

DEFAULTS = {
    "acpi_tables": "false",
    "acpi_tables_in_memory": "true",
    "memory.size": "256M",
    "x86.strictmsr": "true",
    "lpc.fwcfg": "bhyve",
}


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """``run("-A", ...)`` in a lab without anything: (status, stdout, stderr)."""
    monkeypatch.setenv("BHYPE_LAB", str(tmp_path))
    (tmp_path / "state").mkdir()
    (tmp_path / "root").mkdir()

    def call(*argv: str) -> tuple[int, str, str]:
        try:
            code = bhyve.main(list(argv))
        except SystemExit as end:
            code = end.code
        return (code, *capsys.readouterr())

    call.root = tmp_path / "root"
    return call


SETS = [
    ("-A", {"acpi_tables": "true"}),
    ("-a", {"x86.x2apic": "false"}),
    ("-C", {"memory.guest_in_core": "true"}),
    ("-D", {"destroy_on_poweroff": "true"}),
    ("-e", {"x86.strictio": "true"}),
    ("-H", {"x86.vmexit_on_hlt": "true"}),
    ("-I", {}),
    ("-P", {"x86.vmexit_on_pause": "true"}),
    ("-S", {"memory.wired": "true"}),
    ("-u", {"rtc.use_localtime": "false"}),
    ("-W", {"virtio_msix": "false"}),
    ("-w", {"x86.strictmsr": "false"}),
    ("-x", {"x86.x2apic": "true"}),
    ("-Y", {"x86.mptable": "false"}),
    ("-AHP", {"acpi_tables": "true", "x86.vmexit_on_hlt": "true", "x86.vmexit_on_pause": "true"}),
    ("-c 2", {"cpus": "2"}),
    ("-c2", {"cpus": "2"}),
    ("-Hc2", {"cpus": "2", "x86.vmexit_on_hlt": "true"}),
    ("-c cpus=4,sockets=1,cores=2,threads=2", {"cpus": "4", "sockets": "1", "cores": "2", "threads": "2"}),
    ("-c sockets=2,3", {"sockets": "2", "cpus": "3"}),
    ("-m 1G", {"memory.size": "1G"}),
    ("-m junk", {"memory.size": "junk"}),
    ("-U 0-0", {"uuid": "0-0"}),
    ("-K de_noacc", {"keyboard.layout": "de_noacc"}),
    ("-G 1234", {"gdb.port": "1234"}),
    ("-G w0.0.0.0:1234", {"gdb.wait": "true", "gdb.address": "0.0.0.0", "gdb.port": "1234"}),
    ("-p 0:3 -p 0:5 -p 1:2", {"vcpu.0.cpuset": "3,5", "vcpu.1.cpuset": "2"}),
    ("-o a.b=c=d", {"a.b": "c=d"}),
    ("-o x=1 -o x=2", {"x": "2"}),
    ("-l com1,stdio", {"lpc.com1.path": "stdio"}),
    ("-l COM2,/dev/nmdm-a.1A", {"lpc.com2.path": "/dev/nmdm-a.1A"}),
    ("-l bootrom,/r", {"lpc.bootrom": "/r"}),
    ("-l bootrom,/r,/v", {"lpc.bootrom": "/r", "lpc.bootvars": "/v"}),
    ("-l bootrom,/r,fwcfg=qemu", {"lpc.bootrom": "/r", "lpc.fwcfg": "qemu"}),
    ("-l bootrom,/r,/v,fwcfg=qemu", {"lpc.bootvars": "/v", "lpc.fwcfg": "qemu", "lpc.bootrom": "/r"}),
    ("-l tpm,swtpm,/s", {"tpm.type": "swtpm", "tpm.path": "/s", "tpm.version": "2.0"}),
    ("-l pc-testdev", {"lpc.pc-testdev": "true"}),
    ("-s 0,hostbridge", {"pci.0.0.0.device": "hostbridge"}),
    ("-s 31,lpc", {"pci.0.31.0.device": "lpc"}),
    ("-s 4:1,virtio-rnd", {"pci.0.4.1.device": "virtio-rnd"}),
    ("-s 2:4:7,virtio-rnd", {"pci.2.4.7.device": "virtio-rnd"}),
    (
        "-s 0,amd_hostbridge",
        {
            "pci.0.0.0.device": "hostbridge",
            "pci.0.0.0.pcireg.vendor": "0x1022",
            "pci.0.0.0.pcireg.device": "0x7432",
        },
    ),
    (
        "-s 4,virtio-blk,/d,nocache,sectorsize=512/4096",
        {
            "pci.0.4.0.device": "virtio-blk",
            "pci.0.4.0.path": "/d",
            "pci.0.4.0.nocache": "true",
            "pci.0.4.0.sectorsize": "512/4096",
        },
    ),
    (
        "-s 4,ahci-hd,/d,nmrr=1",
        {
            "pci.0.4.0.device": "ahci",
            "pci.0.4.0.port.0.type": "hd",
            "pci.0.4.0.port.0.path": "/d",
            "pci.0.4.0.port.0.nmrr": "1",
        },
    ),
    ("-s 3,ahci-cd", {"pci.0.3.0.device": "ahci", "pci.0.3.0.port.0.type": "cd"}),
    (
        "-s 3,ahci,hd:/a,ro,cd:/b",
        {
            "pci.0.3.0.device": "ahci",
            "pci.0.3.0.port.0.type": "hd",
            "pci.0.3.0.port.0.path": "/a",
            "pci.0.3.0.port.0.ro": "true",
            "pci.0.3.0.port.1.type": "cd",
            "pci.0.3.0.port.1.path": "/b",
        },
    ),
    (
        "-s 4,nvme,/d,maxq=4",
        {"pci.0.4.0.device": "nvme", "pci.0.4.0.path": "/d", "pci.0.4.0.maxq": "4"},
    ),
    ("-s 4,nvme,ram=64", {"pci.0.4.0.device": "nvme", "pci.0.4.0.ram": "64"}),
    (
        "-s 5,virtio-net,tap0,mac=58:9c:fc:00:00:01,mtu=9000",
        {
            "pci.0.5.0.device": "virtio-net",
            "pci.0.5.0.backend": "tap0",
            "pci.0.5.0.mac": "58:9c:fc:00:00:01",
            "pci.0.5.0.mtu": "9000",
        },
    ),
    ("-s 5,e1000,tap0", {"pci.0.5.0.device": "e1000", "pci.0.5.0.backend": "tap0"}),
    (
        "-s 5,virtio-net,netgraph,path=br:,peerhook=link1",
        {
            "pci.0.5.0.device": "virtio-net",
            "pci.0.5.0.backend": "netgraph",
            "pci.0.5.0.type": "netgraph",
            "pci.0.5.0.path": "br:",
            "pci.0.5.0.peerhook": "link1",
        },
    ),
    (
        "-s 29,fbuf,tcp=0.0.0.0:5901,w=800,h=600,wait",
        {
            "pci.0.29.0.device": "fbuf",
            "pci.0.29.0.tcp": "0.0.0.0:5901",
            "pci.0.29.0.w": "800",
            "pci.0.29.0.h": "600",
            "pci.0.29.0.wait": "true",
        },
    ),
    ("-s 30,xhci,tablet", {"pci.0.30.0.device": "xhci", "pci.0.30.0.slot.1.device": "tablet"}),
    (
        "-s 7,virtio-9p,src=/usr/src,ro",
        {
            "pci.0.7.0.device": "virtio-9p",
            "pci.0.7.0.sharename": "src",
            "pci.0.7.0.path": "/usr/src",
            "pci.0.7.0.ro": "true",
        },
    ),
    (
        "-s 7,virtio-console,agent=/a.sock,log=/b.sock",
        {
            "pci.0.7.0.device": "virtio-console",
            "pci.0.7.0.port.0.name": "agent",
            "pci.0.7.0.port.0.path": "/a.sock",
            "pci.0.7.0.port.1.name": "log",
            "pci.0.7.0.port.1.path": "/b.sock",
        },
    ),
    ("-s 8,uart,/dev/nmdm1A", {"pci.0.8.0.device": "uart", "pci.0.8.0.path": "/dev/nmdm1A"}),
    ("-s 8,hda,play=/dev/dsp0", {"pci.0.8.0.device": "hda", "pci.0.8.0.play": "/dev/dsp0"}),
    *(
        (
            f"-s 8,passthru,{selector}",
            {
                "pci.0.8.0.device": "passthru",
                "pci.0.8.0.bus": "1",
                "pci.0.8.0.slot": "2",
                "pci.0.8.0.func": "3",
            },
        )
        for selector in ("1/2/3", "pci0:1:2:3", "pci1:2:3")
    ),
    (
        "-s 8,passthru,ppt0,rom=/r,bootindex=1",
        {
            "pci.0.8.0.device": "passthru",
            "pci.0.8.0.pptdev": "ppt0",
            "pci.0.8.0.rom": "/r",
            "pci.0.8.0.bootindex": "1",
        },
    ),
    ("-s 8,virtio-scsi", {"pci.0.8.0.device": "virtio-scsi"}),
    (
        "-s 8,virtio-scsi,/dev/cam/ctl1.2,iid=3,bootindex=2",
        {
            "pci.0.8.0.device": "virtio-scsi",
            "pci.0.8.0.dev": "/dev/cam/ctl1.2",
            "pci.0.8.0.iid": "3",
            "pci.0.8.0.bootindex": "2",
        },
    ),
    (
        "-s 8,virtio-input,/dev/input/event4",
        {"pci.0.8.0.device": "virtio-input", "pci.0.8.0.path": "/dev/input/event4"},
    ),
    ("-s 8,uart,tcp=127.0.0.1:1", {"pci.0.8.0.device": "uart", "pci.0.8.0.path": "tcp=127.0.0.1:1"}),
    ("-l com3,tcp=127.0.0.1:1", {"lpc.com3.path": "tcp=127.0.0.1:1"}),
    (
        "-l tpm,passthru,/dev/tpm0,version=2.0",
        {"tpm.type": "passthru", "tpm.path": "/dev/tpm0", "tpm.version": "2.0"},
    ),
    (
        "-s 5,e1000,slirp,hostfwd=tcp:127.0.0.1:2222-10.0.2.15:22",
        {
            "pci.0.5.0.device": "e1000",
            "pci.0.5.0.backend": "slirp",
            "pci.0.5.0.type": "slirp",
            "pci.0.5.0.hostfwd": "tcp:127.0.0.1:2222-10.0.2.15:22",
        },
    ),
    ("-f opt/a,string=b -f name=opt/c,string=d", {}),
]


@pytest.mark.parametrize(("words", "variables"), SETS, ids=[words for words, _ in SETS])
def test_an_option_sets_variables(run, words, variables):
    code, out, err = run(*words.split(" "), "-o", "config.dump=1", "vm1")
    dumped = dict(line.split("=", 1) for line in out.splitlines())
    assert (code, err) == (1, "")
    assert dumped == DEFAULTS | variables | {"config.dump": "1", "name": "vm1"}


USAGE = "Usage: bhyve [-AaCDeHhPSuWwxY]\n             [-c [[cpus=]numcpus]"

REFUSED = [
    ([], 1, USAGE),
    (["-A"], 1, USAGE),
    (["-h", "vm1"], 0, USAGE),
    (["a", "b"], 1, USAGE),
    (["vm1", "-A"], 1, USAGE),
    (["-z", "vm1"], 1, "bhyve: illegal option -- z\n" + USAGE),
    (["-Az", "vm1"], 1, "bhyve: illegal option -- z\n" + USAGE),
    (["-r", "file", "vm1"], 1, "bhyve: illegal option -- r\n" + USAGE),
    (["-n", "0,1G,2", "vm1"], 1, "bhyve: illegal option -- n\n" + USAGE),
    (["-c"], 1, "bhyve: option requires an argument -- c\n" + USAGE),
    (["--vm=x"], 1, "bhyve: illegal option -- -\n" + USAGE),
    (["-c", "foo=1", "-z"], 64, "bhyve: invalid cpu topology 'foo=1'\n"),
    (["-c", "cpus=2,maxcpus=4", "vm1"], 64, "bhyve: invalid cpu topology 'cpus=2,maxcpus=4'\n"),
    (["-c", "abc", "vm1"], 4, "bhyve: Invalid value for cpus: 'abc'\n"),
    (["-c", "0", "vm1"], 4, "bhyve: Invalid value for cpus: '0'\n"),
    (["-c", "65536", "vm1"], 4, "bhyve: Invalid value for cpus: '65536'\n"),
    (["-c", "cpus=", "vm1"], 4, "bhyve: Invalid value for cpus: ''\n"),
    (["-c", "cores=-1", "vm1"], 4, "bhyve: Invalid value for cores: '-1'\n"),
    (
        ["-c", "cpus=4,cores=4", "vm1"],
        4,
        "bhyve: Topology (4 sockets, 4 cores, 1 threads) does not match 4 vCPUs\n",
    ),
    (
        ["-c", "cpus=2,sockets=1", "vm1"],
        4,
        "bhyve: Topology (1 sockets, 1 cores, 1 threads) does not match 2 vCPUs\n",
    ),
    (
        ["-c", "sockets=300,cores=300", "vm1"],
        4,
        "bhyve: Computed number of vCPUs too high: 90000\n",
    ),
    (["-m", "xyz", "vm1"], 64, "bhyve: invalid memsize 'xyz'\n"),
    (["-m", "", "vm1"], 64, "bhyve: invalid memsize ''\n"),
    (["-m", "1.5G", "vm1"], 64, "bhyve: invalid memsize '1.5G'\n"),
    (["-m", "1GG", "vm1"], 64, "bhyve: invalid memsize '1GG'\n"),
    (
        ["-p", "x", "vm1"],
        64,
        "invalid format: x\nbhyve: invalid vcpu pinning configuration 'x'\n",
    ),
    (
        ["-p", "-1:0", "vm1"],
        64,
        "invalid vcpu '-1'\nbhyve: invalid vcpu pinning configuration '-1:0'\n",
    ),
    (
        ["-p", "0:1024", "vm1"],
        64,
        "hostcpu '1024' outside valid range from 0 to 1023\n"
        "bhyve: invalid vcpu pinning configuration '0:1024'\n",
    ),
    (["-o", "vcpu.0.cpuset=a", "vm1"], 4, "bhyve: invalid cpuset for vcpu 0: 'a'\n"),
    (["-o", "k", "vm1"], 64, "bhyve: invalid configuration option 'k'\n"),
    (["-o", "k=", "vm1"], 64, "bhyve: invalid configuration option 'k='\n"),
    (["-o", "x=1", "-o", "x.y=2", "v"], 4, "bhyve: Configuration node x is a child of existing variable x\n"),
    (
        ["-o", "a.b=1", "-o", "a=2", "v"],
        4,
        "bhyve: Attempting to add value 2 to existing node a\n",
    ),
    (["-o", "config.dump=maybe", "v"], 4, "bhyve: Invalid value maybe for boolean variable config.dump\n"),
    (["-o", "acpi_tables=2", "v"], 4, "bhyve: Invalid value 2 for boolean variable acpi_tables\n"),
    (["-l", "com5,stdio", "v"], 64, "bhyve: invalid lpc device configuration 'com5,stdio'\n"),
    (["-l", "com1", "v"], 64, "bhyve: invalid lpc device configuration 'com1'\n"),
    (["-l", "bootrom", "v"], 4, 'bhyve: invalid bootrom option "bootrom"\n'),
    (["-l", "tpm", "v"], 4, 'bhyve: invalid tpm type "tpm"\n'),
    (["-l", "tpm,swtpm", "v"], 4, 'bhyve: invalid tpm path "tpm,swtpm"\n'),
    *(
        (
            ["-f", item, "v"],
            64,
            f'bhyve: Invalid fw_cfg option "{item}"\nbhyve: -f [name=]<name>,(string|file)=<value>\n'
            f"bhyve: invalid fwcfg item '{item}'\n",
        )
        for item in ("opt/x,junk=1", "opt/x", "opt/x,string")
    ),
    (
        ["-f", "opt/" + "x" * 60 + ",string=1", "v"],
        64,
        f'bhyve: fw_cfg name too long: "opt/{"x" * 60},string=1"\n'
        f"bhyve: invalid fwcfg item 'opt/{'x' * 60},string=1'\n",
    ),
    (
        ["-f", "opt/x,file=/none", "v"],
        64,
        'bhyve: Can\'t open fw_cfg_user_file file "/none": No such file or directory\n'
        "bhyve: invalid fwcfg item 'opt/x,file=/none'\n",
    ),
    (["-s", "5,passthru,nvme0", "v"], 4, 'passthru: invalid options "nvme0"\n'),
    (["-s", "5,passthru,1/0", "v"], 4, 'passthru: invalid options "1/0"\n'),
    (["-s", "5,virtio-9p,a=/x,b=/y", "v"], 4, "virtio-9p: more than one share name given\n"),
    (["-s", "5,ahci,/x", "v"], 4, 'pci_ahci: invalid port configuration "/x"\n'),
    (["-s", "5", "v"], 4, 'Invalid PCI slot info field "5"\n'),
    (["-s", "32,lpc", "v"], 4, 'Invalid PCI slot info field "32,lpc"\n'),
    (["-s", "-1,lpc", "v"], 4, 'Invalid PCI slot info field "-1,lpc"\n'),
    (["-s", "1:8,lpc", "v"], 4, 'Invalid PCI slot info field "1:8,lpc"\n'),
    (["-s", "256:0:0,lpc", "v"], 4, 'Invalid PCI slot info field "256:0:0,lpc"\n'),
    (["-s", "x,lpc", "v"], 4, 'Invalid PCI slot info field "x,lpc"\n'),
    (["-s", "5,foo", "v"], 4, 'pci slot 0:5:0: unknown device "foo"\n'),
    (["-s", "1:5:2,foo,bar", "v"], 4, 'pci slot 1:5:2: unknown device "foo"\n'),
    (["-s", "5,lpc", "-s", "5,virtio-rnd", "v"], 4, "pci slot 0:5:0 already occupied!\n"),
    (["-s", "5,lpc", "-s", "0:5:0,virtio-rnd", "v"], 4, "pci slot 0:5:0 already occupied!\n"),
    (["-s", "5,fbuf,a.b=c", "v"], 4, "bhyve: Invalid config node name a.b\n"),
    (
        ["-k", "/none", "v"],
        4,
        "bhyve: Failed to open configuration file /none: No such file or directory\n",
    ),
]


@pytest.mark.parametrize(("argv", "code", "text"), REFUSED, ids=[" ".join(argv) for argv, _, _ in REFUSED])
def test_it_refuses_a_wrong_command_line(run, argv, code, text):
    found, out, err = run(*argv)
    assert (found, out) == (code, "")
    assert (
        err == text
        or (text.endswith(USAGE) and err.startswith(text))
        or err.startswith(text + "bhyve: Failed")
    )


def test_help_lists_emulations_and_lpc_devices(run):
    code, out, err = run("-s", "help")
    assert (code, err) == (0, "")
    assert {"hostbridge", "virtio-blk", "ahci-cd", "nvme", "fbuf", "xhci", "lpc"} <= set(out.split())
    assert run("-s", "") == (0, out, "")
    assert run("-s", "he", "-z") == (0, out, "")
    code, out, err = run("-l", "help")
    assert (code, err) == (0, "")
    assert out.split() == ["bootrom", "com1", "com2", "com3", "com4", "tpm", "pc-testdev"]


def test_a_configuration_file_sets_variables_in_turn(run):
    (run.root / "vm.conf").write_text("# mine\n\nname=fromfile\ncpus=2\nbhype.owner=me\nx=1\n")
    code, out, err = run("-o", "x=0", "-k", "/vm.conf", "-o", "cpus=3", "-o", "config.dump=on")
    assert (code, err) == (1, "")
    assert out.splitlines()[-5:] == ["name=fromfile", "bhype.owner=me", "x=1", "cpus=3", "config.dump=on"]


@pytest.mark.parametrize("line", [" name=x", "name", "name=", "=", "\tx=1"])
def test_a_bad_line_of_a_configuration_file_is_named(run, line):
    (run.root / "vm.conf").write_text(f"a=b\n{line}\n")
    assert run("-k", "/vm.conf") == (4, "", f"bhyve: /vm.conf line 2: invalid config option '{line}'\n")


def test_nothing_reaches_the_kernel_before_the_options_are_right(run):
    run("-c", "cpus=4,cores=4", "vm1")
    run("-o", "config.dump=1", "vm1")
    assert not (run.root / "dev").exists()


def test_references_are_expanded(run, capsys):
    config = bhyve_config.Config()
    config.set("name", "vm1")
    config.set("disk", "/vm/%(name)/%(none)disk%")
    config.set("back", r"a\%(name)%(name)")
    config.set("plain", r"a\b")
    config.set("loop", "%(loop)")
    assert config.get("disk") == "/vm/vm1/disk%"
    assert config.get("back") == "a%(name)vm1"
    assert config.get("plain") == r"a\b"
    assert config.get("loop") == "%(loop)"
    err = capsys.readouterr().err
    assert "bhyve: Failed to fetch referenced configuration variable none" in err
    assert 'bhyve: Invalid reference in configuration value "/vm/%(name)/%(none)disk%"' in err


_names = st.text("abcxyz0", min_size=1, max_size=3)
_paths = st.lists(_names, min_size=1, max_size=3).map(".".join)
_values = st.text(
    st.characters(
        codec="ascii", exclude_characters="\n\r\x00\x0b\x0c\x1c\x1d\x1e", categories=("L", "N", "P", "S")
    ),
    min_size=1,
)


@given(st.dictionaries(_paths, _values))
def test_what_is_dumped_reads_back(pairs):
    config = bhyve_config.Config()
    taken = {}
    for path, value in pairs.items():
        try:
            config.set(path, value)
        except SystemExit as end:
            assert end.code == 4
        else:
            taken[path] = value
    again = bhyve_config.Config()
    for line in config.dump():
        path, _, value = line.partition("=")
        again.set(path, value)
    assert again.tree == config.tree
    assert {line.partition("=")[0]: line.partition("=")[2] for line in config.dump()} == taken


@given(st.lists(st.text(max_size=20), max_size=6))
def test_any_words_end_in_a_status_of_bhyve(tmp_path_factory, words):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("lab")
        (folder / "state").mkdir()
        patch.setenv("BHYPE_LAB", str(folder))
        with pytest.raises(SystemExit) as end:
            bhyve.main([word.replace("\0", "") for word in words])
    assert end.value.code in (0, 1, 4, 64)
