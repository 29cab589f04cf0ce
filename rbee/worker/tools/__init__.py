"""Calls of tools in what a model writes: the forms there are, and one reader for each."""
