"""The pages and addresses, one file per area, each exporting `bp`; what is listed here is served."""

from __future__ import annotations

from flask import Blueprint

from blueprints import accounts, auth, dashboard, groups, health, help, history, oauth, runs, webhooks

BLUEPRINTS: tuple[Blueprint, ...] = (
    auth.bp,
    dashboard.bp,
    accounts.bp,
    oauth.bp,
    groups.bp,
    help.bp,
    history.bp,
    runs.bp,
    health.bp,
    webhooks.bp,
)
