"""The packet filter of the lab.

Doors, all pure:
  parser.parse(text, name=, world=, macros=) -> Ruleset   raises Errors (``.lines``), as pfctl(8) tells them
  show.text(rule)                                         a rule as pfctl prints it
  model.Filter(...)                                       what pf does with a packet
  model.journey(...)                                      whether a packet passes on its whole way
"""
