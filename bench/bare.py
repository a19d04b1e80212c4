"""The least that a web program can do with a webhook: a Flask view that answers. The floor of the intake."""

from __future__ import annotations

from flask import Flask, request

app = Flask(__name__)


@app.post("/webhooks/bling")
def take() -> tuple[str, int]:
    request.get_data()
    return "", 204
