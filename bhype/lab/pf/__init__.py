"""The packet filter of the lab.

Doors, all pure::

    parser.parse(text, *, name="stdin", world=None, macros=None) -> Ruleset
        raises parser.Errors, whose ``lines`` are what pfctl(8) would tell
    show.text(rule) -> str                          a rule as pfctl prints it
    world.World(interfaces={"em0": Interface(("192.0.2.10/24",), ("egress",)), ...}, release=14, default="em0")
    model.Filter.of({"": main, "bhype/base": text, "bhype/rules": text}, world, {("bhype/rules", "vm1"): ["10.77.0.5"]})
        a pf that has loaded these anchors, with what more their tables hold
    Filter.test(model.Packet(interface, direction, protocol, source, target, source_port, target_port, ...)) -> Verdict
        what happens at one hook: passes, packet (translated), rule, anchor, number, label, by_state
    journey.journey(filter, packet, enters, at, *, pfil=Pfil(member, bridge, local), forwards=True) -> Journey
        the whole way: passes, why, hooks, verdicts, packet, leaves
    journey.talk(...) -> (Journey there, Journey of the answer or None)

Other modules: `kernel` (what is loaded, in the lab's state), `nft` and `live` (the same with Linux' nftables, where
the lab has wires).
"""
