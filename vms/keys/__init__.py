"""VMs in encrypted datasets: locked and unlocked."""
