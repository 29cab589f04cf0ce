"""The queen: takes requests, knows the fleet, chooses a worker, and streams from it directly.

    registry    who is there (single writer of the fleet)      fleet      what it shows of that
    scheduler   where a request goes (pure)                    dispatch   the line and the leases
    errands     spawns and downloads that requests wait for    relay      a worker's stream
    inference   one request from lease to last token           openai/    other people's dialects

She never starts a process and never touches a model file: that is the hives' work.
"""
