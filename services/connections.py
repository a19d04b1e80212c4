"""Connecting an account, from Bling's way back to the row that holds its tokens; each way it can end told in words.

How it begins is in consents.py. The rule it guards: tokens that end up nowhere are revoked, not forgotten.
"""

from __future__ import annotations

import logging
import re
import secrets
import unicodedata
from dataclasses import dataclass

from peewee import IntegrityError

import queues
from bling.errors import (
    AppRefused,
    BlingError,
    CodeRefused,
    Forbidden,
    QuotaExhausted,
    RateLimited,
    quote_foreign,
)
from clock import utcnow
from core.values import Company, Tokens
from db import database
from ids import new_id
from models import Account, AccountState, OAuthState, Organization, User
from services.bling_clients import app_of, client_with, oauth_client, shared_app, token_columns
from services.consents import ConnectionFailed, unseal_typed, use_up
from services.secrets import SecretUnreadable, seal, unseal

log = logging.getLogger(__name__)

_MAX_KEY = 40
_KEEP_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Connected:
    """How it ended well. `was_known`: the company was connected here before and its tokens were renewed."""

    account: Account
    was_known: bool


@dataclass(frozen=True, slots=True)
class _App:
    client_id: str
    client_secret: str
    is_own: bool


def finish(
    user: User, session_nonce: str, *, state: str, code: str = "", error: str = "", error_description: str = ""
) -> Connected:
    """What the callback does.

    1. Use the state up, or say why it is not good.
    2. Exchange the code and ask Bling which company it is.
    3. Keep the tokens with that company's account, an old or a new one, and have its catalogue read.

    :raise ConnectionFailed: nothing has changed, and tokens that were given are revoked.
    """
    started = use_up(user, session_nonce, state)
    if error or not code:
        raise _refused_there(started, error, error_description)
    app = _app_of_start(started)
    tokens = _exchange(started, app, code)
    company = _ask_company(started, app, tokens)
    connected = _keep(started, app, tokens, company)
    # A replay of this callback can then say which account it was.
    OAuthState.update(account=connected.account.id).where(OAuthState.state_digest == started.state_digest).execute()
    if not queues.enqueue("jobs.catalog.refresh_account", connected.account.id, queue=queues.BULK):
        _check_soon(user.organization_id)
    return connected


def free_key(organization_id: str, name: str) -> str:
    """A key for a new account, made of its name, that no other account of the organization has."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    base = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_MAX_KEY].strip("-") or "conta"
    taken = {key for (key,) in Account.select(Account.key).where(Account.organization == organization_id).tuples()}
    number = 1
    key = base
    while key in taken:
        number += 1
        key = f"{base}-{number}"
    return key


def _refused_there(started: OAuthState, error: str, description: str) -> ConnectionFailed:
    told = quote_foreign(description or error)
    if error == "access_denied":
        return ConnectionFailed(
            "A autorização foi recusada no Bling",
            "Nada foi alterado. Para sincronizar o estoque desta conta, clique em Autorizar na página do Bling.",
            started.account,
        )
    if error:
        return ConnectionFailed(
            "O Bling não autorizou a conexão",
            f"Nada foi alterado. O Bling respondeu: “{told}”. Confira o aplicativo no Bling e tente de novo.",
            started.account,
        )
    return ConnectionFailed(
        "O Bling voltou sem um código de autorização", "Nada foi alterado. Tente conectar de novo.", started.account
    )


def _app_of_start(started: OAuthState) -> _App:
    if started.client_id is not None:
        OAuthState.update(client_secret_sealed=None).where(OAuthState.state_digest == started.state_digest).execute()
        secret = unseal_typed(started.client_secret_sealed or "", started.state_digest, started.account)
        return _App(started.client_id, secret, is_own=True)
    shared = shared_app()
    if shared is None:
        raise ConnectionFailed(
            "Esta instalação não tem mais um aplicativo do Bling",
            "Nada foi alterado. Conecte com um aplicativo próprio ou fale com quem administra a instalação.",
            started.account,
        )
    return _App(*shared, is_own=False)


def _exchange(started: OAuthState, app: _App, code: str) -> Tokens:
    try:
        return oauth_client(app.client_id, app.client_secret).exchange_code(code)
    except CodeRefused as error:
        raise ConnectionFailed(
            "O código do Bling venceu ou já foi usado",
            "O código que o Bling dá vale 1 minuto e uma vez só. Nada foi alterado. Tente conectar de novo.",
            started.account,
        ) from error
    except AppRefused as error:
        raise ConnectionFailed("O Bling não reconheceu o aplicativo", _app_advice(app), started.account) from error
    except BlingError as error:
        raise _unreachable(started, error) from error


def _app_advice(app: _App) -> str:
    if app.is_own:
        return (
            "O Client ID ou o Client Secret não conferem. Nada foi alterado. Copie os dois de novo da página do "
            "aplicativo no Bling e tente outra vez."
        )
    return "O aplicativo desta instalação foi recusado. Nada foi alterado. Fale com quem administra a instalação."


def _ask_company(started: OAuthState, app: _App, tokens: Tokens) -> Company:
    # Paced with the account's other requests when we know whose tokens these should be.
    client = client_with(tokens, app.client_id, app.client_secret, started.account_id or f"new-{started.state_digest}")
    try:
        return client.get_company()
    except Forbidden as error:
        _revoke(app, tokens)
        raise ConnectionFailed(
            "Falta uma permissão no aplicativo do Bling",
            "O aplicativo precisa do escopo de dados básicos da empresa. Nada foi alterado. Marque os escopos na "
            "página do aplicativo no Bling e conecte de novo.",
            started.account,
        ) from error
    except BlingError as error:
        _revoke(app, tokens)
        raise _unreachable(started, error) from error


def _unreachable(started: OAuthState, error: BlingError) -> ConnectionFailed:
    log.warning("Connecting an account failed: %s", error)
    if isinstance(error, RateLimited | QuotaExhausted):
        return ConnectionFailed(
            "O Bling pediu para esperar",
            "Esta conta fez requisições demais. Nada foi alterado. Espere alguns minutos e conecte de novo.",
            started.account,
        )
    return ConnectionFailed(
        "O Bling não respondeu",
        "A autorização não pôde ser concluída. Nada foi alterado. Espere um pouco e conecte de novo.",
        started.account,
    )


def _keep(started: OAuthState, app: _App, tokens: Tokens, company: Company) -> Connected:
    try:
        for attempt in range(1, _KEEP_ATTEMPTS + 1):
            try:
                with database.atomic():
                    connected, left_behind = _keep_in_transaction(started, app, tokens, company)
                break
            except IntegrityError:
                # Somebody connected the same company, or took the same key, in this very moment: look again.
                if attempt == _KEEP_ATTEMPTS:
                    raise
    except _Unwanted as unwanted:
        if unwanted.is_revoked:
            _revoke(app, tokens)
        raise unwanted.failure from None
    if left_behind is not None:
        _revoke(*left_behind)
    return connected


class _Unwanted(Exception):
    """The tokens may not be kept. `is_revoked`: nor may anybody else."""

    def __init__(self, failure: ConnectionFailed, *, is_revoked: bool) -> None:
        super().__init__(failure.title)
        self.failure = failure
        self.is_revoked = is_revoked


def _keep_in_transaction(
    started: OAuthState, app: _App, tokens: Tokens, company: Company
) -> tuple[Connected, tuple[_App, Tokens] | None]:
    """The account that now has the tokens, and another app's tokens that it no longer needs."""
    owner = _owner_of(company.id)
    if owner is not None and owner.organization_id != started.organization_id:
        raise _Unwanted(
            ConnectionFailed(
                "Esta conta Bling já está conectada em outra organização",
                f"A empresa {company.name} já é sincronizada por outra organização do EstoqueUni. Nada foi alterado e "
                "a autorização que você acabou de dar foi desfeita.",
                started.account,
            ),
            is_revoked=True,
        )
    wanted = started.account
    if wanted is None:
        account = owner or _disconnected_here(started.organization_id, company.id)
        if account is None:
            return Connected(_create(started, app, tokens, company), was_known=False), None
    else:
        account = wanted
        if wanted.company_id not in (None, company.id) or (owner is not None and owner.id != wanted.id):
            raise _Unwanted(_other_company(wanted, owner, company), is_revoked=owner is None)
    left_behind = _tokens_of_another_app(account, app)
    _renew(account, started, app, tokens, company)
    return Connected(Account.get_by_id(account.id), was_known=True), left_behind


def _owner_of(company_id: str) -> Account | None:
    return Account.get_or_none((Account.company_id == company_id) & (Account.state != AccountState.DISCONNECTED))


def _disconnected_here(organization_id: str, company_id: str) -> Account | None:
    return (
        Account.select()
        .where(
            (Account.organization == organization_id)
            & (Account.company_id == company_id)
            & (Account.state == AccountState.DISCONNECTED)
        )
        .order_by(Account.id.desc())
        .first()
    )


def _other_company(wanted: Account, owner: Account | None, company: Company) -> ConnectionFailed:
    where = f", que aqui é a conta {owner.name}" if owner is not None else ""
    return ConnectionFailed(
        "Você autorizou outra conta do Bling",
        f"Para reconectar {wanted.name} é preciso entrar no Bling como {wanted.company_name or 'a mesma empresa'}. "
        f"A autorização veio de {company.name}{where}. Nada foi alterado. Saia do Bling, entre com a conta certa e "
        "tente de novo.",
        wanted,
    )


def _create(started: OAuthState, app: _App, tokens: Tokens, company: Company) -> Account:
    account_id = new_id()
    Account.insert(
        id=account_id,
        organization=started.organization_id,
        key=free_key(started.organization_id, started.account_name),
        name=started.account_name,
        state=AccountState.CONNECTED,
        created_at=utcnow(),
        **_connected_columns(account_id, app, tokens, company, webhook_key=None),
    ).execute()
    return Account.get_by_id(account_id)


def _renew(account: Account, started: OAuthState, app: _App, tokens: Tokens, company: Company) -> None:
    changes = _connected_columns(account.id, app, tokens, company, webhook_key=account.webhook_key)
    if account.state == AccountState.DISCONNECTED and started.account_id is None:
        changes["name"] = started.account_name
    # A pause is the merchant's own wish and outlives a new authorization.
    if account.state != AccountState.PAUSED:
        changes |= {"state": AccountState.CONNECTED, "state_reason": None}
    Account.update(changes).where(Account.id == account.id).execute()
    if account.state in (AccountState.RECONNECT, AccountState.DISCONNECTED):
        forget_catalog(account.id)
    # What happened while the account could not be read is looked for now, not at the next periodic check.
    _check_soon(account.organization_id)


def forget_catalog(account_id: str) -> None:
    """Nobody told what became of its products while it was away: it has to be read before any balance of it counts."""
    Account.update(catalog_at=None).where(Account.id == account_id).execute()


def _check_soon(organization_id: str) -> None:
    """Have the periodic check, which reads catalogues first, come now."""
    Organization.update(next_reconcile_at=utcnow()).where(Organization.id == organization_id).execute()


def _connected_columns(
    account_id: str, app: _App, tokens: Tokens, company: Company, webhook_key: str | None
) -> dict[str, object]:
    own: dict[str, object] = {"client_id": None, "client_secret_sealed": None, "webhook_key": None}
    if app.is_own:
        own = {
            "client_id": app.client_id,
            "client_secret_sealed": seal(app.client_secret, owner_id=account_id),
            "webhook_key": webhook_key or secrets.token_urlsafe(24),
        }
    return {
        **token_columns(account_id, tokens),
        **own,
        "company_id": company.id,
        "company_name": company.name,
        "company_cnpj": company.cnpj,
        "refresh_lease": None,
        "refresh_lease_until": None,
        "last_error": None,
        "last_error_at": None,
    }


def _tokens_of_another_app(account: Account, app: _App) -> tuple[_App, Tokens] | None:
    # Of the same app they are left alone: nobody knows whether revoking them would end the new authorization too.
    if account.refresh_token_sealed is None or account.token_expires_at is None:
        return None
    try:
        client_id, client_secret = app_of(account)
        refresh_token = unseal(account.refresh_token_sealed, owner_id=account.id)
    except (AppRefused, SecretUnreadable):
        return None
    if client_id == app.client_id:
        return None
    old = Tokens(access_token="", refresh_token=refresh_token, expires_at=account.token_expires_at, lifetime_s=0)
    return _App(client_id, client_secret, is_own=account.client_id is not None), old


def _revoke(app: _App, tokens: Tokens) -> None:
    """Best effort: the tokens are known to nobody else, and end by themselves when they are not used."""
    try:
        oauth_client(app.client_id, app.client_secret).revoke(tokens.refresh_token)
    except BlingError as error:
        log.warning("Could not revoke tokens that are not kept: %s", error)
