"""Started consents: what the merchant typed, and the single-use `state` that leads back from Bling to it.

The rule it guards: a `state` works once, for ten minutes, for the person, the session and the organization that
started.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta

import config
from bling.tokens import authorize_url
from clock import utcnow
from db import database
from models import Account, OAuthState, User
from services.bling_clients import shared_app
from services.secrets import SecretUnreadable, seal, unseal

STATE_LIFE = timedelta(minutes=10)
MAX_NAME = 80
MAX_CREDENTIAL = 200
_KEEP_STATES = timedelta(days=1)


class ConnectionFailed(Exception):
    """The connection came to nothing; `title` and `message` tell the merchant, in Portuguese, what and what to do."""

    def __init__(self, title: str, message: str, account: Account | None = None) -> None:
        super().__init__(title)
        self.title = title
        self.message = message
        self.account = account


@dataclass(frozen=True, slots=True)
class ConnectionForm:
    """What the merchant typed: a name for the account and, for an app of its own, that app's id and secret."""

    name: str
    has_own_app: bool = False
    client_id: str = ""
    client_secret: str = ""

    def faults(self, account: Account | None = None) -> dict[str, str]:
        """Per field what is wrong with it; `account` is the one to be reconnected, whose secret may be kept."""
        found: dict[str, str] = {}
        if not self.name.strip():
            found["name"] = "Dê um nome à conta, por exemplo o da loja."
        elif len(self.name.strip()) > MAX_NAME:
            found["name"] = f"Use no máximo {MAX_NAME} caracteres."
        elif not self.name.strip().isprintable():
            found["name"] = "Use só letras, números e sinais comuns."
        if self.has_own_app:
            for field, value in (("client_id", self.client_id), ("client_secret", self.client_secret)):
                if not value.strip() and not (field == "client_secret" and self._keeps_secret_of(account)):
                    found[field] = "Copie este dado da página do aplicativo no Bling."
                elif len(value) > MAX_CREDENTIAL or not value.isascii() or " " in value.strip() or ":" in value:
                    found[field] = "Isto não parece um dado do aplicativo. Copie de novo, sem espaços."
        elif shared_app() is None:
            found["has_own_app"] = "Esta instalação não tem um aplicativo próprio: informe o da sua conta Bling."
        return found

    def _keeps_secret_of(self, account: Account | None) -> bool:
        return (
            account is not None
            and account.client_secret_sealed is not None
            and account.client_id == self.client_id.strip()
        )


def start(user: User, session_nonce: str, form: ConnectionForm, account: Account | None = None) -> str:
    """Note the beginning and return the address of Bling's consent page. The form has no faults.

    :raise ConnectionFailed: the account's stored secret, which the form relies on, cannot be opened.
    """
    now = utcnow()
    state = secrets.token_urlsafe(32)
    digest = _digest(state)
    client_id: str | None = None
    sealed: str | None = None
    if form.has_own_app:
        client_id = form.client_id.strip()
        client_secret = form.client_secret.strip()
        if not client_secret and account is not None:
            client_secret = unseal_typed(account.client_secret_sealed or "", account.id, account)
        sealed = seal(client_secret, owner_id=digest)
    with database.atomic():
        OAuthState.delete().where(OAuthState.expires_at < now - _KEEP_STATES).execute()
        OAuthState.insert(
            state_digest=digest,
            organization=user.organization_id,
            user=user.id,
            session_digest=_digest(session_nonce),
            account=account,
            account_name=form.name.strip(),
            client_id=client_id,
            client_secret_sealed=sealed,
            created_at=now,
            expires_at=now + STATE_LIFE,
        ).execute()
    shared = shared_app()
    chosen = client_id or (shared[0] if shared else "")
    return authorize_url(config.current().bling_authorize_url, chosen, state)


def use_up(user: User, session_nonce: str, state: str) -> OAuthState:
    """The consent that this state stands for, now used.

    :raise ConnectionFailed: the state is unknown, somebody else's, of another session, used or too old.
    """
    now = utcnow()
    digest = _digest(state)
    used = (
        OAuthState.update(used_at=now)
        .where(
            (OAuthState.state_digest == digest)
            & (OAuthState.organization == user.organization_id)
            & (OAuthState.user == user.id)
            & (OAuthState.session_digest == _digest(session_nonce))
            & OAuthState.used_at.is_null()
            & (OAuthState.expires_at > now)
        )
        .execute()
    )
    started = OAuthState.get_or_none(OAuthState.state_digest == digest)
    if used == 1 and started is not None:
        return started
    if started is None or started.organization_id != user.organization_id or started.user_id != user.id:
        raise ConnectionFailed(
            "Este retorno do Bling não é seu",
            "Não encontramos uma conexão que você tenha começado. Nada foi alterado. Comece de novo em Conectar conta.",
        )
    if started.used_at is not None:
        raise ConnectionFailed(
            "Este retorno do Bling já foi usado",
            "Cada autorização vale uma vez só. Se a conta já aparece como conectada, está tudo certo; "
            "se não, comece de novo em Conectar conta.",
            started.account,
        )
    if started.session_digest != _digest(session_nonce):
        raise ConnectionFailed(
            "A conexão começou em outra sessão",
            "Por segurança, é preciso terminar no mesmo navegador e sem sair da conta do EstoqueUni. "
            "Nada foi alterado. Comece de novo aqui.",
            started.account,
        )
    raise ConnectionFailed(
        "A conexão demorou demais",
        "Você tem 10 minutos para autorizar no Bling. Nada foi alterado. Comece de novo.",
        started.account,
    )


def unseal_typed(sealed: str, owner_id: str, account: Account | None) -> str:
    """A client secret that was typed before. :raise ConnectionFailed: it cannot be opened any more."""
    try:
        return unseal(sealed, owner_id=owner_id)
    except SecretUnreadable as error:
        raise ConnectionFailed(
            "O Client Secret guardado não pôde ser aberto", "Nada foi alterado. Informe-o de novo.", account
        ) from error


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
