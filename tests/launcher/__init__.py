"""The launcher: its decisions as pure functions, and its installs with the real pip, offline."""
