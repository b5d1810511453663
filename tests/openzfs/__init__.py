"""Real OpenZFS in a guest, and the same commands given to it and to the lab."""
