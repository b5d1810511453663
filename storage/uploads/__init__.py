"""Files that people send (tus), and the folders of a pool that files come in and go out through."""
