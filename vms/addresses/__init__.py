"""The addresses of VMs: given to their ports, told to their guests, and shown."""
