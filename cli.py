"""The command line: `flask --app app …`. Exit code 0: done, 1: failed, 2: wrong use.

With --json one JSON document goes to standard output and nothing else; what a person should know goes to standard
error, in one line, without a traceback.
"""

from __future__ import annotations

import click
from flask import Flask

import migrations
from db import connection, database


def init_app(app: Flask) -> None:
    for command in (db,):
        app.cli.add_command(command)


@click.group()
def db() -> None:
    """The database."""


@db.command()
def upgrade() -> None:
    """Create the schema or bring it up to date; safe to repeat."""
    with connection():
        try:
            done = migrations.upgrade(database.obj)
        except migrations.ForeignDatabase as error:
            raise click.ClickException(str(error)) from None
    for step in done:
        click.echo(f"Aplicado: {step}")
    if not done:
        click.echo("O banco de dados já está atualizado.")
