"""Templates, of whose disks VMs are cloned, and the presets of operating systems."""
