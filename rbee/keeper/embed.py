"""`rbee embed`: one vector for each text."""

from __future__ import annotations

import sys

import click

from rbee.client.requests import Embeddings
from rbee.keeper.options import client, json_option, queen_option
from rbee.keeper.status import print_raw
from rbee.wire import codec


@click.command()
@click.argument("texts", nargs=-1, required=True, metavar="TEXT...")
@click.option("-m", "--model", default="bee", show_default=True)
@queen_option
@json_option
def embed(texts: tuple[str, ...], model: str, queen: str, as_json: bool) -> None:
    """Print a vector for each TEXT, one JSON array a line; `-` reads texts from stdin, by line."""
    asked = sys.stdin.read().splitlines() if texts == ("-",) else list(texts)
    raw = client(queen).embed_raw(asked, model)
    if as_json:
        print_raw(raw)
        return
    found: Embeddings = codec.decode(raw, Embeddings)
    for row in found.vectors().vectors:
        sys.stdout.write(codec.encode(row).decode() + "\n")
