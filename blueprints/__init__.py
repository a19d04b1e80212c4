"""The pages and addresses, one file per area, each exporting `bp`; what is listed here is served."""

from __future__ import annotations

from flask import Blueprint

from blueprints import auth, dashboard, health, help, history, runs, webhooks

BLUEPRINTS: tuple[Blueprint, ...] = (
    auth.bp,
    dashboard.bp,
    help.bp,
    history.bp,
    runs.bp,
    health.bp,
    webhooks.bp,
)
