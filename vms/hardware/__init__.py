"""The devices and settings of a VM: its forms, pages and API, its disks, and what waits for the next start."""
