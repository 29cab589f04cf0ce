"""What crosses a process: msgspec structs only, no logic, no I/O.

`operations` is what a client may ask, `events` how an answer arrives, `answers` what whole
answers look like, `fleet` what hives and workers tell the queen, `worker_api` what a worker alone
is asked. New fields have defaults; a field is never retyped and a tag never reused.
"""
