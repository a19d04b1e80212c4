"""How the web process runs: a few workers with a few threads each; requests wait for the database, never for Bling."""

from __future__ import annotations

import logs
from config import Config

# Read here as well, so that a wrong environment ends the master with its one line instead of each worker in turn.
_config = Config.from_env()

wsgi_app = "app:create_app()"
bind = f"{_config.bind_host}:{_config.port}"
worker_class = "gthread"
workers = _config.web_concurrency
threads = _config.web_threads
# Bling counts an answer that takes longer than 5 s as a failure, hosts end a request after 30 s.
timeout = 20
graceful_timeout = 20
keepalive = 5
max_requests = 5000
max_requests_jitter = 500
# By default gunicorn opens a socket for its remote control in the home directory.
control_socket_disable = True
# ProxyFix decides whose word about the visitor is taken; gunicorn only passes the headers on.
forwarded_allow_ips = "*"
# Queries are left out: they carry codes.
access_log_format = "%(m)s %(U)s %(s)s %(B)s bytes %(M)s ms"
logconfig_dict = logs.settings(_config.log_level)
logconfig_dict["loggers"] |= {
    "gunicorn.error": {"level": _config.log_level, "handlers": [], "propagate": True},
    # In development, pages that refresh themselves would drown everything else.
    "gunicorn.access": {"level": "INFO" if _config.is_production else "WARNING", "handlers": [], "propagate": True},
}
