"""How contracts cross a process boundary: codec, replies, streams, jobs, guard, client, server.

Knows HTTP and nothing of queens, hives or models.
"""
