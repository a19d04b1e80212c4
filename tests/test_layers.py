"""Who may import whom (CONTRIBUTING.md has the same table with the reasons)."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = {path.stem for path in ROOT.glob("*.py")} | {path.parent.name for path in ROOT.glob("*/__init__.py")} | {"core"}

# Of our own packages and modules, each may import these (and itself).
MAY_IMPORT = {
    "core": set(),
    "clock": set(),
    "ids": set(),
    "logs": set(),
    "config": set(),
    "db": set(),
    "queues": set(),
    "bling": {"core"},
    "models": {"db", "core", "clock", "ids"},
    "migrations": {"db", "clock"},
    "services": {"core", "models", "bling", "queues", "db", "clock", "ids", "config", "logs", "migrations"},
    "blueprints": {"services", "models", "core", "config", "db", "clock"},
    "jobs": {"services", "models", "db", "config", "queues", "clock", "logs"},
    "cli": {"services", "models", "db", "config", "migrations", "core", "clock", "queues"},
    "app": {"blueprints", "cli", "config", "db", "logs", "queues", "services"},
    "devserver": {"config"},
    "sandbox": set(),
}
# Single modules that one more may have: the words in which Bling's refusals are told, and how moments are stored.
EXCEPTIONS = {("cli", "bling.errors"), ("migrations", "models.base")}
# Foreign libraries that stay in one place, so that they can be understood, tested and replaced there.
ONLY_IN = {
    "flask": {"app", "db", "blueprints", "cli", "sandbox"},
    "flask_login": {"blueprints"},
    "flask_wtf": {"blueprints"},
    "flask_limiter": {"blueprints"},
    "werkzeug": {"app", "db", "blueprints", "sandbox"},
    "requests": {"bling", "sandbox"},
    "peewee": {"db", "models", "services", "migrations", "jobs", "cli", "blueprints"},
    "playhouse": {"db", "models", "migrations"},
    # In the views only for the limit on sign-ins, which is set up there.
    "redis": {"queues", "jobs", "devserver", "bling", "services", "blueprints/access"},
    "rq": {"queues", "jobs"},
    "rq_scheduler": {"queues"},
}


def modules(package: str) -> list[Path]:
    single = ROOT / f"{package}.py"
    return [single] if single.exists() else sorted((ROOT / package).rglob("*.py"))


def imports(package: str) -> Iterator[tuple[str, str, str]]:
    """Each import of the package: what is imported, by which module, and where that stands."""
    for path in modules(package):
        module = path.relative_to(ROOT).with_suffix("").as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            else:
                continue
            for name in names:
                yield name, module, f"{module}.py:{node.lineno} imports {name}"


def top(name: str) -> str:
    return name.partition(".")[0]


def test_every_package_of_ours_is_in_the_table() -> None:
    not_part_of_the_program = {"tests", "bench", "gunicorn.conf"}

    assert OURS - MAY_IMPORT.keys() - not_part_of_the_program == set()


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_it_imports_only_what_it_may(package: str) -> None:
    forbidden = OURS - MAY_IMPORT[package] - {package}

    assert [
        where for name, _, where in imports(package) if top(name) in forbidden and (package, name) not in EXCEPTIONS
    ] == []


@pytest.mark.parametrize("library", sorted(ONLY_IN))
def test_a_library_stays_in_its_place(library: str) -> None:
    homes = ONLY_IN[library]

    assert [
        where
        for package in sorted(MAY_IMPORT.keys() - homes)
        for name, module, where in imports(package)
        if top(name) == library and module not in homes
    ] == []


def test_core_knows_nothing_but_the_standard_library() -> None:
    assert [
        where for name, _, where in imports("core") if top(name) != "core" and top(name) not in sys.stdlib_module_names
    ] == []


@pytest.mark.parametrize("name", ["random", "time", "socket", "os", "uuid", "secrets", "sqlite3", "threading"])
def test_core_has_no_clock_no_chance_and_no_world(name: str) -> None:
    assert [where for found, _, where in imports("core") if top(found) == name] == []


def reads(path: Path, owner: str, attribute: str) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr == attribute
        and isinstance(node.value, ast.Name)
        and node.value.id == owner
    ]


@pytest.mark.parametrize(
    ("owner", "attribute", "home"),
    [("os", "environ", {"config", "devserver"}), ("os", "getenv", set()), ("datetime", "now", {"clock", "sandbox"})],
)
def test_the_world_is_read_in_one_place(owner: str, attribute: str, home: set[str]) -> None:
    elsewhere = MAY_IMPORT.keys() - home
    assert [
        place for package in elsewhere for path in modules(package) for place in reads(path, owner, attribute)
    ] == []
