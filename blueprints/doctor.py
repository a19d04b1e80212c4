"""Doutor de SKU: what keeps products from being synchronized, and what to do about it."""

from __future__ import annotations

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from blueprints.access import my_organization
from models import Account, AccountState
from services import doctor, labels
from services.doctor_causes import CAUSES, Filters

bp = Blueprint("doctor", __name__, url_prefix="/doutor")


@bp.get("")
def index() -> ResponseReturnValue:
    organization = my_organization()
    filters = Filters.from_query(request.args)
    after = request.args.get("depois", "")[:300] or None
    if filters.cause:
        finding = doctor.examine_cause(organization, filters, after)
        findings = [finding] if finding.entries else []
    else:
        findings = doctor.examine(organization, filters)
    return render_template(
        "doctor/index.html",
        filters=filters,
        findings=findings,
        after=after,
        causes=[(code, labels.label(code, "problem").text) for code in CAUSES],
        rules=doctor.rules_of(organization),
        accounts=_accounts(),
        checked_at=doctor.checked_at(organization),
    )


def _accounts() -> list[tuple[str, str]]:
    accounts = Account.select().where(
        (Account.organization == my_organization()) & (Account.state != AccountState.DISCONNECTED)
    )
    return [(account.key, account.name) for account in accounts.order_by(Account.name)]
