"""What can be set about the sandbox while it runs; None switches a limit off."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from .errors import SandboxError


@dataclass
class Settings:
    rate_per_second: int | None = 3
    rate_per_day: int | None = 120_000
    # Blocks of one IP: errors and requests in 10 s, token calls in 60 s. Off where many tests share one address.
    ip_limits: bool = False
    expires_in: int = 21_600
    code_lives_s: float = 60.0
    refresh_lives_s: float = 30 * 86_400.0
    # Refuse a JWT that comes without the header `enable-jwt: 1`.
    require_enable_jwt: bool = True
    # Whether the access token before a refresh works until its own end.
    old_access_lives: bool = True
    # virtual_stock.updated accompanies every stock event, not only reservations and compositions.
    virtual_with_stock: bool = True
    float_noise: bool = False
    # What filtroSaldoEstoque judges: "physical" or "virtual".
    filter_on: str = "physical"
    max_ids: int = 100
    webhook_timeout_s: float = 5.0
    retry_delays_s: tuple[float, ...] = (2, 5, 15, 60, 300, 900, 3600, 14_400)
    give_up_s: float = 3 * 86_400.0
    # Deliveries under way at once per account; one keeps the order of events where nothing goes wrong.
    parallel_deliveries: int = 1

    def update(self, changes: dict[str, Any]) -> None:
        """Set the named settings, all or none; SandboxError for an unknown name or a value of another type."""
        known = {f.name for f in fields(self)}
        checked: dict[str, Any] = {}
        for name, value in changes.items():
            if name not in known:
                raise SandboxError(f"Configuração desconhecida: {name}.")
            checked[name] = _checked(name, getattr(type(self), name), value)
        for name, value in checked.items():
            setattr(self, name, value)


def _checked(name: str, default: Any, value: Any) -> Any:
    problem = SandboxError(f"Valor inválido para {name}.")
    if name in ("rate_per_second", "rate_per_day") and value is None:
        return None
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise problem
        return value
    if name == "filter_on":
        if value not in ("physical", "virtual"):
            raise problem
        return value
    if name == "retry_delays_s":
        if not isinstance(value, list | tuple) or not value:
            raise problem
        return tuple(_positive(delay, problem) for delay in value)
    number = _positive(value, problem)
    return int(number) if isinstance(default, int) else number


def _positive(value: Any, problem: SandboxError) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise problem from None
    if isinstance(value, bool) or number < 0:
        raise problem
    return number
