"""`rbee gui`: the queen's page, in a browser."""

from __future__ import annotations

import sys

import click

from rbee.client.transport import call
from rbee.keeper.options import client, json_option, queen_option
from rbee.wire import codec


@click.command()
@click.option("--no-open", is_flag=True, help="Print the address only.")
@queen_option
@json_option
def gui(no_open: bool, queen: str, as_json: bool) -> None:
    """Open the queen's web page."""
    url = f"{client(queen).queen}/"
    call("GET", f"{url}health")
    sys.stdout.write(f"{codec.encode({'url': url}).decode() if as_json else url}\n")
    sys.stdout.flush()
    if not no_open:
        import webbrowser

        if not webbrowser.open(url):
            sys.stderr.write("rbee: there is no browser here; open the address yourself\n")
