"""Bling's consent page as a browser goes through it: over HTTP, following what the pages say."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import requests
from flask.testing import FlaskClient
from werkzeug.test import TestResponse


@dataclass
class Consent:
    """One visit to Bling that `start` began; `decide` ends it with the address that Bling sends the browser back to."""

    address: str

    @property
    def client_id(self) -> str:
        return parse_qs(urlsplit(self.address).query)["client_id"][0]

    @property
    def state(self) -> str:
        return parse_qs(urlsplit(self.address).query)["state"][0]

    def decide(self, account: str | None) -> str:
        """The path that Bling leads back to; None refuses."""
        page = requests.get(self.address, timeout=10)
        assert page.status_code == 200, page.text
        form = {"client_id": self.client_id, "state": self.state, "decision": "authorize" if account else "refuse"}
        answer = requests.post(
            self.address.partition("?")[0], data={**form, "account": account or ""}, allow_redirects=False, timeout=10
        )
        assert answer.status_code == 302, answer.text
        parts = urlsplit(answer.headers["Location"])
        return f"{parts.path}?{parts.query}"


def start(browser: FlaskClient, path: str = "/contas/conectar", **form: str) -> Consent:
    answer = browser.post(path, data={"name": "Loja nova", "app": "shared", **form})
    assert answer.status_code == 303, answer.get_data(as_text=True)
    return Consent(answer.headers["Location"])


def connect(browser: FlaskClient, account: str, path: str = "/contas/conectar", **form: str) -> TestResponse:
    return browser.get(start(browser, path, **form).decide(account))
