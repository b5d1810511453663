"""What a guest is told at its first boot: settings, the seed, and the library of snippets."""
