"""Bringing VMs in and out: packages, streams, descriptions, copies, VMs of other tools."""
