"""The command line: `flask --app app …`. Exit code 0: done, 1: failed, 2: wrong use.

With --json one JSON document goes to standard output and nothing else; what a person should know goes to standard
error, in one line, without a traceback.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from decimal import Decimal
from typing import IO, Any

import click
from flask import Flask
from peewee import OperationalError, ProgrammingError

import migrations
import queues
from bling.errors import BlingError
from db import UNREACHABLE, connection, database
from models import Organization, Run, RunType
from services import history as histories
from services import overview
from services.bling_clients import explain
from services.labels import label, quantidade
from services.preview import Preview, preview_skus
from services.runs import get_run, start_run
from services.secrets import SecretUnreadable
from services.setup import SetupRefused, import_setup
from services.setup_export import export_setup

POLL_S = 0.1
GOOD_RUNS = ("ok", "skipped")
RUN_ENDS = {
    "ok": "Tudo sincronizado.",
    "skipped": "Nada a sincronizar: os SKUs pedidos não participam de regras ativas ou foram ignorados.",
    "partial": "Parte dos produtos não pôde ser sincronizada.",
    "failed": "A sincronização falhou.",
    "held": "A sincronização parou antes de escrever e espera a aprovação de uma pessoa, na tela da execução.",
}


class Failure(click.ClickException):
    """Ends the command with exit code 1 and this message."""

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(self.format_message(), file=file or sys.stderr)


class DatabaseCommand(click.Command):
    """A command with an open connection; what can go wrong around it becomes one line."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with connection():
                return super().invoke(ctx)
        except BlingError as error:
            raise Failure(f"{explain(error)} Detalhes: {error}") from None
        except SecretUnreadable:
            raise Failure("Os segredos guardados não podem ser abertos com as ENCRYPTION_KEYS atuais.") from None
        except (ProgrammingError, *UNREACHABLE) as error:
            if _lacks_schema(error):
                raise Failure(
                    "O banco de dados não tem o esquema atual. Rode antes: flask --app app db upgrade"
                ) from None
            raise Failure(f"O banco de dados não respondeu como devia: {_first_line(error)}") from None


def init_app(app: Flask) -> None:
    for command in (db, setup, sync, reconcile, status, history):
        app.cli.add_command(command)


@click.group()
def db() -> None:
    """The database."""


@db.command(cls=DatabaseCommand)
def upgrade() -> None:
    """Create the schema or bring it up to date; safe to repeat."""
    try:
        done = migrations.upgrade(database.obj)
    except migrations.ForeignDatabase as error:
        raise Failure(str(error)) from None
    for step in done:
        click.echo(f"Aplicado: {step}")
    if not done:
        click.echo("O banco de dados já está atualizado.")


@click.group()
def setup() -> None:
    """A merchant as a JSON file."""


@setup.command("import", cls=DatabaseCommand)
@click.argument("file", type=click.File("rb"))
def import_(file: IO[bytes]) -> None:
    """Create or update a merchant from FILE (- reads standard input); repeating it changes nothing."""
    try:
        done = import_setup(file.read())
    except SetupRefused as error:
        raise Failure(str(error)) from None
    for change in done.changes:
        click.echo(change)
    if not done.changes:
        click.echo("Nada a mudar: tudo já estava assim.")
    if done.run is not None:
        click.echo(f"Sincronização iniciada: {done.run.id}")


@setup.command(cls=DatabaseCommand)
@click.argument("organization", metavar="ORG")
@click.option("--secrets", "with_secrets", is_flag=True, help="Include tokens and client secrets.")
def export(organization: str, with_secrets: bool) -> None:
    """Print the setup file of the merchant with the slug ORG."""
    _print_json(export_setup(_organization(organization), with_secrets=with_secrets), indent=2)


@click.group()
def sync() -> None:
    """Synchronizations."""


@sync.command("run", cls=DatabaseCommand)
@click.option("--org", required=True, metavar="SLUG")
@click.option("--all", "everything", is_flag=True, help="Every SKU of every active rule.")
@click.option("--sku", "skus", multiple=True, metavar="SKU", help="This SKU; more may follow.")
@click.argument("more", nargs=-1, metavar="")
@click.option("--dry-run", is_flag=True, help="Print the plan, write nothing.")
@click.option("--wait", is_flag=True, help="Return when it is over.")
@click.option("--json", "as_json", is_flag=True)
def sync_run(
    org: str, everything: bool, skus: tuple[str, ...], more: tuple[str, ...], dry_run: bool, wait: bool, as_json: bool
) -> None:
    """Synchronize now, as the button does."""
    if everything == bool(skus) or (more and not skus):
        raise click.UsageError("Escolha --all ou um ou mais --sku SKU.")
    wanted = None if everything else [sku.strip() for sku in (*skus, *more)]
    if wanted is not None and not all(wanted):
        raise click.UsageError("Um SKU não pode ficar em branco.")
    organization = _organization(org)
    if dry_run:
        _show_plan(organization, wanted, as_json)
        return
    run = start_run(organization, RunType.MANUAL, skus=wanted)
    _report(organization, run, wait, as_json)


@click.command(cls=DatabaseCommand)
@click.option("--org", required=True, metavar="SLUG")
@click.option("--wait", is_flag=True, help="Return when it is over.")
@click.option("--json", "as_json", is_flag=True)
def reconcile(org: str, wait: bool, as_json: bool) -> None:
    """The periodic check, now."""
    organization = _organization(org)
    _report(organization, start_run(organization, RunType.CRON, skus=None, reason="schedule"), wait, as_json)


@click.command(cls=DatabaseCommand)
@click.option("--org", metavar="SLUG", help="Of this merchant only.")
@click.option("--json", "as_json", is_flag=True)
def status(org: str | None, as_json: bool) -> None:
    """What is going on."""
    now = overview.status(_organization(org) if org else None)
    if as_json:
        _print_json(now)
        return
    events, writes = now["events"], now["writes"]
    click.echo("Em repouso: nada na fila." if now["idle"] else "Trabalhando.")
    click.echo(f"Eventos: {events['pending']} pendentes, {events['failed']} com erro. SKUs na fila: {now['dirty']}.")
    click.echo(
        f"Escritas: {writes['pending']} pendentes, {writes['unknown']} sem resposta, {writes['review']} em revisão."
    )
    for account in now["accounts"]:
        click.echo(f"Conta {account['key']}: {account['state']}, último evento {account['last_event_at'] or 'nunca'}.")
    click.echo(f"Workers ativos: {now['workers']}.")


@click.command(cls=DatabaseCommand)
@click.option("--org", required=True, metavar="SLUG")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def history(org: str, limit: int, as_json: bool) -> None:
    """What was synchronized, newest first."""
    runs = histories.history_json(_organization(org), limit)
    if as_json:
        _print_json(runs)
        return
    for run in runs:
        account = f" ({run['account']})" if run["account"] else ""
        click.echo(f"{run['at']}  {run['type']:<7}  {run['status']:<8}  {run['products']} produtos{account}")


def _organization(slug: str) -> Organization:
    organization = Organization.get_or_none(Organization.slug == slug)
    if organization is None:
        raise Failure(f"Não há cliente com o identificador “{slug}”.")
    return organization


def _report(organization: Organization, run: Run, wait: bool, as_json: bool) -> None:
    """Say which run was started or, having waited, how it ended; a bad end is exit code 1."""
    if queues.worker_count() == 0:
        click.echo("Nenhum worker está ativo: a sincronização começa quando um for iniciado.", err=True)
    if wait:
        run = _wait_for(organization, run)
    if as_json:
        _print_json({"run": run.id, "type": run.type, "status": run.status, **_counts(run)})
    elif wait:
        click.echo(f"{run.id}: {RUN_ENDS[run.status]}")
    else:
        click.echo(run.id)
    if wait and run.status not in GOOD_RUNS:
        raise click.exceptions.Exit(1)


def _wait_for(organization: Organization, run: Run) -> Run:
    """The run when it has ended or waits for a person."""
    while run.finished_at is None and run.status != "held":
        time.sleep(POLL_S)
        run = get_run(organization, run.id) or run
    return run


def _counts(run: Run) -> dict[str, Any]:
    return {"considered": run.considered, "unchanged": run.unchanged, "items": histories.tally(run)}


def _show_plan(organization: Organization, skus: list[str] | None, as_json: bool) -> None:
    previews = preview_skus(organization, skus)
    if as_json:
        _print_json({"dry_run": True, "groups": [_plan_document(preview) for preview in previews]})
        return
    for preview in previews:
        click.echo(f"{preview.group.name}: {preview.totals.changed} de {preview.totals.skus} SKUs mudariam.")
        if preview.verdict.is_held:
            click.echo(
                f"  Baixaria {preview.dropped} dos {preview.followed} SKUs da regra: "
                "antes de escrever, esperaria a aprovação de uma pessoa."
            )
        for row in preview.rows:
            for cell in row.deposits:
                if cell.delta:
                    before, after = quantidade(cell.before), quantidade(cell.after)
                    click.echo(f"  {row.sku}  {cell.account.name} · {cell.deposit.name}: {before} → {after}")
            if row.problem:
                click.echo(f"  {row.sku}  fica de fora: {label(row.problem, 'problem').text}")


def _plan_document(preview: Preview) -> dict[str, Any]:
    return {
        "group": preview.group.key,
        "totals": asdict(preview.totals),
        "guard": {
            "lowered": preview.dropped,
            "skus": preview.followed,
            "min_skus": preview.group.guard_min_skus,
            "percent": f"{preview.group.guard_percent:f}",
            "verdict": preview.verdict,
            "holds": preview.verdict.is_held,
        },
        "unreadable_accounts": [account.key for account in preview.unreadable_accounts],
        "items": [
            {
                "sku": row.sku,
                "available": row.available,
                "problem": row.problem,
                "deposits": [
                    {
                        "account": cell.account.key,
                        "deposit": cell.deposit.bling_id,
                        "role": cell.role,
                        "before": cell.before,
                        "after": cell.after,
                        "problem": cell.problem,
                    }
                    for cell in row.deposits
                ],
            }
            for row in preview.rows
        ],
    }


def _print_json(value: object, indent: int | None = None) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=indent, default=_number))


def _number(value: object) -> int | float | None:
    if isinstance(value, Decimal):
        return histories.number(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _lacks_schema(error: Exception) -> bool:
    text = str(error)
    return isinstance(error, ProgrammingError | OperationalError) and (
        "no such table" in text or "no such column" in text or ("does not exist" in text and "relation" in text)
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
