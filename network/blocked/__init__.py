"""What pflog(4) tells: packets that rules with "log" have met."""
