"""How often Python looks for garbage in a server: seldom, for while it looks nobody is answered.

Every open connection is a few dozen objects. With 2,000 of them, and requests coming and going, the
default looks through all of it every two seconds, for 100 ms each time: that alone made one refusal
in twenty late. What was there when the server became ready stays, and need not be looked through;
what is young is looked at as often as ever, so that cycles do not pile up.
"""

from __future__ import annotations

import gc

OLD_ONCE_IN = 50
"""Middle generations for each search of the old one; Python's default is 10."""


def search_seldom() -> None:
    """For a process that has loaded all it will need. Calling it again does no harm."""
    gc.collect()
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, OLD_ONCE_IN)
