"""A VM's life: making, start and stop, its name, schedules, what it leaves when it is deleted."""
