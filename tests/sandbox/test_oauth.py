"""Authorization: the consent page, one-minute codes, rotating tokens, and how an authorization is lost."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from sandbox import Bling, Server
from tests.sandbox.conftest import CLIENT_ID, CLIENT_SECRET, Api, Clock
from tests.sandbox.contract import assert_error

BASIC = (CLIENT_ID, CLIENT_SECRET)


def ask_token(server: Server, auth: Any = BASIC, jwt: bool = True, **form: str) -> requests.Response:
    headers = {"enable-jwt": "1"} if jwt else {}
    return requests.post(f"{server.url}/Api/v3/oauth/token", data=form, auth=auth, headers=headers, timeout=5)


def exchange(server: Server, code: str, **arguments: Any) -> requests.Response:
    return ask_token(server, grant_type="authorization_code", code=code, **arguments)


def refresh(server: Server, token: str, **arguments: Any) -> requests.Response:
    return ask_token(server, grant_type="refresh_token", refresh_token=token, **arguments)


def is_welcome(server: Server, token: str) -> bool:
    headers = {"Authorization": f"Bearer {token}", "enable-jwt": "1"}
    url = f"{server.url}/Api/v3/empresas/me/dados-basicos"
    return requests.get(url, headers=headers, timeout=5).status_code == 200


def error_of(answer: requests.Response) -> str:
    assert_error(answer.json())
    return str(answer.json()["error"]["type"])


@pytest.fixture
def ticking(bling: Bling) -> Clock:
    """The sandbox's own clock, moved by hand."""
    clock = Clock()
    bling.world.clock = clock
    return clock


def test_the_merchant_chooses_an_account_and_comes_back_with_code_and_state(bling: Bling, server: Server) -> None:
    query = {"response_type": "code", "client_id": CLIENT_ID, "state": "abc", "redirect_uri": "https://mau.example"}
    page = requests.get(f"{server.url}/Api/v3/oauth/authorize", params=query, timeout=5)
    form = {"client_id": CLIENT_ID, "state": "abc", "account": "filial", "decision": "authorize"}

    answer = requests.post(f"{server.url}/Api/v3/oauth/authorize", data=form, timeout=5, allow_redirects=False)

    assert page.status_code == 200
    assert all(word in page.text for word in ("Matriz", "Filial", "Autorizar", "Recusar"))
    target = urlsplit(answer.headers["Location"])
    assert f"{target.scheme}://{target.netloc}{target.path}" == "http://localhost:5000/bling/callback"
    back = parse_qs(target.query)
    assert back["state"] == ["abc"]
    tokens = exchange(server, back["code"][0]).json()
    company = requests.get(
        f"{server.url}/Api/v3/empresas/me/dados-basicos",
        headers={"Authorization": f"Bearer {tokens['access_token']}", "enable-jwt": "1"},
        timeout=5,
    ).json()
    assert company["data"]["nome"] == "Filial"


def test_a_refusal_comes_back_as_an_error(bling: Bling, server: Server) -> None:
    form = {"client_id": CLIENT_ID, "state": "abc", "account": "filial", "decision": "refuse"}

    answer = requests.post(f"{server.url}/Api/v3/oauth/authorize", data=form, timeout=5, allow_redirects=False)

    back = parse_qs(urlsplit(answer.headers["Location"]).query)
    assert back["error"] == ["access_denied"]
    assert back["error_description"]
    assert back["state"] == ["abc"]
    assert "code" not in back


@pytest.mark.parametrize(
    "query",
    [
        {"response_type": "code", "client_id": CLIENT_ID},
        {"response_type": "code", "client_id": CLIENT_ID, "state": ""},
        {"response_type": "code", "client_id": "ninguem", "state": "abc"},
    ],
)
def test_no_consent_without_state_or_known_app(server: Server, query: dict[str, str]) -> None:
    page = requests.get(f"{server.url}/Api/v3/oauth/authorize", params=query, timeout=5)

    assert page.status_code == 400
    assert "Não foi possível autorizar" in page.text


def test_an_own_app_is_offered_only_its_owner_s_account(bling: Bling, server: Server) -> None:
    bling.add_app("app-filial", "s", kind="own", owner="filial")
    query = {"response_type": "code", "client_id": "app-filial", "state": "abc"}
    form = {"client_id": "app-filial", "state": "abc", "account": "matriz", "decision": "authorize"}

    page = requests.get(f"{server.url}/Api/v3/oauth/authorize", params=query, timeout=5)
    answer = requests.post(f"{server.url}/Api/v3/oauth/authorize", data=form, timeout=5, allow_redirects=False)

    assert 'value="filial"' in page.text
    assert 'value="matriz"' not in page.text
    assert answer.status_code == 400


def test_a_shared_app_serves_ten_accounts_until_it_is_approved(bling: Bling, server: Server) -> None:
    for number in range(10):
        bling.add_account(f"c{number}")
        bling.issue_tokens(f"c{number}")
    form = {"client_id": CLIENT_ID, "state": "abc", "account": "filial", "decision": "authorize"}
    url = f"{server.url}/Api/v3/oauth/authorize"

    refused = requests.post(url, data=form, timeout=5, allow_redirects=False)
    bling.edit_app(CLIENT_ID, approved=True)
    allowed = requests.post(url, data=form, timeout=5, allow_redirects=False)

    assert (refused.status_code, allowed.status_code) == (403, 302)


def test_tokens_look_like_bling_s(bling: Bling, server: Server) -> None:
    tokens = exchange(server, bling.authorize_code("matriz")).json()
    opaque = exchange(server, bling.authorize_code("matriz"), jwt=False).json()

    assert set(tokens) == {"access_token", "expires_in", "token_type", "scope", "refresh_token"}
    assert tokens["token_type"] == "Bearer"
    assert tokens["expires_in"] == 21_600
    assert 1500 <= len(tokens["access_token"]) <= 3000
    assert tokens["access_token"].count(".") == 2
    assert len(opaque["access_token"]) == 40


def test_credentials_count_only_as_basic_authorization(bling: Bling, server: Server) -> None:
    code = bling.authorize_code("matriz")
    in_body = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}

    without = exchange(server, code, auth=None, **in_body)
    wrong = exchange(server, code, auth=(CLIENT_ID, "errado"))
    right = exchange(server, code)

    assert [without.status_code, wrong.status_code, right.status_code] == [401, 401, 200]
    assert error_of(wrong) == "invalid_client"


def test_the_token_endpoint_takes_forms_not_json(bling: Bling, server: Server) -> None:
    body = {"grant_type": "authorization_code", "code": bling.authorize_code("matriz")}

    answer = requests.post(f"{server.url}/Api/v3/oauth/token", json=body, auth=BASIC, timeout=5)

    assert answer.status_code == 400
    assert error_of(answer) == "invalid_request"
    assert error_of(ask_token(server, grant_type="password")) == "unsupported_grant_type"


def test_a_code_lives_one_minute(bling: Bling, server: Server, ticking: Clock) -> None:
    early, late = bling.authorize_code("matriz"), bling.authorize_code("matriz")

    ticking.now += 59
    in_time = exchange(server, early)
    ticking.now += 1
    too_late = exchange(server, late)

    assert in_time.status_code == 200
    assert too_late.status_code == 400
    assert error_of(too_late) == "invalid_grant"


def test_a_code_used_twice_revokes_the_authorization(bling: Bling, server: Server) -> None:
    code = bling.authorize_code("matriz")
    tokens = exchange(server, code).json()
    assert is_welcome(server, tokens["access_token"])

    again = exchange(server, code)

    assert error_of(again) == "invalid_grant"
    assert not is_welcome(server, tokens["access_token"])
    assert error_of(refresh(server, tokens["refresh_token"])) == "invalid_grant"


def test_a_code_works_only_for_its_app(bling: Bling, server: Server) -> None:
    bling.add_app("outro", "s")

    answer = exchange(server, bling.authorize_code("matriz"), auth=("outro", "s"))

    assert error_of(answer) == "invalid_grant"


def test_refreshing_rotates_both_tokens(bling: Bling, server: Server) -> None:
    first = bling.issue_tokens("matriz")

    second = refresh(server, first.refresh_token).json()
    third = refresh(server, second["refresh_token"]).json()

    assert len({first.refresh_token, second["refresh_token"], third["refresh_token"]}) == 3
    assert is_welcome(server, third["access_token"])
    assert is_welcome(server, first.access_token), "an access token works until its own end"


def test_a_refresh_token_used_twice_loses_the_authorization(bling: Bling, server: Server) -> None:
    first = bling.issue_tokens("matriz")
    second = refresh(server, first.refresh_token).json()

    again = refresh(server, first.refresh_token)

    assert error_of(again) == "invalid_grant"
    assert not is_welcome(server, second["access_token"])
    assert error_of(refresh(server, second["refresh_token"])) == "invalid_grant"


def test_access_ends_after_six_hours_and_refreshing_after_thirty_days(
    bling: Bling, server: Server, ticking: Clock
) -> None:
    tokens = bling.issue_tokens("matriz")

    ticking.now += 21_599
    assert is_welcome(server, tokens.access_token)
    ticking.now += 1
    assert not is_welcome(server, tokens.access_token)
    ticking.now += 30 * 86_400
    assert error_of(refresh(server, tokens.refresh_token)) == "invalid_grant"


def test_revoking_ends_the_authorization_and_an_unknown_token_is_no_error(bling: Bling, server: Server) -> None:
    tokens = bling.issue_tokens("matriz")
    url = f"{server.url}/Api/v3/oauth/revoke"

    def revoke(token: str, auth: Any = BASIC) -> int:
        form = {"token": token, "token_type_hint": "refresh_token"}
        return requests.post(url, data=form, auth=auth, timeout=5).status_code

    assert revoke("nada") == 200
    assert revoke(tokens.refresh_token, auth=(CLIENT_ID, "errado")) == 401
    assert is_welcome(server, tokens.access_token)
    assert revoke(tokens.refresh_token) == 200
    assert not is_welcome(server, tokens.access_token)


def test_other_scopes_revoke_every_authorization_and_forbid_what_is_missing(bling: Bling, server: Server) -> None:
    before = bling.issue_tokens("matriz")

    bling.edit_app(CLIENT_ID, scopes=["Produtos"])

    assert not is_welcome(server, before.access_token)
    api = Api(server.url, bling.issue_tokens("matriz").access_token)
    assert api.get("/produtos").status_code == 200
    refused = api.get("/depositos")
    assert refused.status_code == 403
    assert refused.json()["error"]["type"] == "insufficient_scope"


def test_a_jwt_needs_its_header_and_no_token_is_unauthorized(bling: Bling, server: Server) -> None:
    token = bling.issue_tokens("matriz").access_token
    url = f"{server.url}/Api/v3/produtos"

    without_header = requests.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=5)
    without_token = requests.get(url, headers={"enable-jwt": "1"}, timeout=5)

    assert without_header.status_code == 401
    assert error_of(without_header) == "invalid_token"
    assert without_token.status_code == 401
    assert error_of(without_token) == "UNAUTHORIZED"


def test_tokens_never_reach_the_request_log(bling: Bling, server: Server) -> None:
    tokens = exchange(server, bling.authorize_code("matriz")).json()
    refresh(server, tokens["refresh_token"])
    is_welcome(server, tokens["access_token"])

    log = repr(bling.requests())

    assert len(bling.requests()) == 3
    assert tokens["access_token"] not in log
    assert tokens["refresh_token"] not in log
    assert CLIENT_SECRET not in log
