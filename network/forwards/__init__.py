"""Port forwards: a port of the host that leads to a guest."""
