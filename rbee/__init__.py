"""rbee: every machine a person owns, behind one address, as one private AI cloud."""

__version__ = "0.1.0"
