"""The pages and addresses, one file per area, each exporting `bp`; what is listed here is served."""

from __future__ import annotations

from flask import Blueprint

from blueprints import (
    accounts,
    auth,
    dashboard,
    doctor,
    groups,
    health,
    help,
    history,
    oauth,
    overrides,
    review,
    runs,
    stock,
    undo,
    webhooks,
)

BLUEPRINTS: tuple[Blueprint, ...] = (
    auth.bp,
    dashboard.bp,
    accounts.bp,
    oauth.bp,
    groups.bp,
    doctor.bp,
    review.bp,
    overrides.bp,
    help.bp,
    history.bp,
    runs.bp,
    stock.bp,
    undo.bp,
    health.bp,
    webhooks.bp,
)
