"""The queen: takes requests, knows the fleet, chooses a worker, and streams from it directly.

    registry    who is there (single writer of the fleet)      members, picture   what that comes to
    fleet       what the scheduler sees of it                  whereabouts        who has which job
    scheduler   where a request goes (pure)                    decisions, fitting, room, refusals
    dispatch    the waiting line; who is served next           line, admission, pace
    leasing     who holds a slot, who lost his worker          lease, breaker
    attempts    whether a request is asked again (pure)        budget, quarantine
    errands     spawns and downloads that requests wait for    relay      a worker's stream
    inference   one request from lease to last token           openai/    other people's dialects

She never starts a process and never touches a model file: that is the hives' work.
"""
