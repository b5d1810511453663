"""Aliases: one name for several hosts, networks or ports."""
