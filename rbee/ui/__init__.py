"""Web pages of the three roles: plain files, no build step, nothing from outside.

`rbee.wire.pages` serves them; they know only the public interface. Scripts put what servers say
into the page as text, never as markup.
"""
