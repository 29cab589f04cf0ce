"""The command line: arguments, commands and how answers are shown.

It talks HTTP through `rbee.client` like anyone else, and knows the inside of no role. Every module
is imported only by the command that needs it, for a command line is judged by its first token.
"""
