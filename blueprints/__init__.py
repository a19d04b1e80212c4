"""The pages and addresses, one file per area, each exporting `bp`; what is listed here is served."""

from __future__ import annotations

from flask import Blueprint

BLUEPRINTS: tuple[Blueprint, ...] = ()
