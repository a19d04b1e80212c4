"""schema.sql, the models and the migrations say the same, on SQLite and on PostgreSQL."""

from __future__ import annotations

import re
from dataclasses import dataclass

from peewee import BigIntegerField, Database, ForeignKeyField, IntegerField, Model, SqliteDatabase, TextField

import migrations
from models import TABLES

SQL_TYPES = {BigIntegerField: "BIGINT", IntegerField: "INTEGER", TextField: "TEXT"}


@dataclass(frozen=True)
class Column:
    type: str
    is_nullable: bool
    is_key: bool


def test_the_models_have_the_columns_of_the_schema(nothing: Database) -> None:
    migrations.upgrade(nothing)

    found = {table: columns_of(nothing, table) for table in nothing.get_tables()}

    del found["schema_migration"]
    assert {model._meta.table_name: columns_of_model(model) for model in TABLES} == found


def test_the_models_have_the_foreign_keys_of_the_schema(nothing: Database) -> None:
    migrations.upgrade(nothing)

    for model in TABLES:
        wanted = {
            (field.column_name, field.rel_model._meta.table_name, field.on_delete or "NO ACTION")
            for field in model._meta.sorted_fields
            if isinstance(field, ForeignKeyField)
        }
        found = foreign_keys_of(nothing, model._meta.table_name)
        # Cell is declared after the models of the history: those hold its id as a plain column.
        assert found - wanted <= {("cell_id", "cell", "SET NULL"), ("cell_id", "cell", "CASCADE")}, model
        assert wanted <= found, model


def test_the_models_have_the_indexes_of_the_schema(nothing: Database) -> None:
    migrations.upgrade(nothing)

    for model in TABLES:
        table = model._meta.table_name
        found = {
            (tuple(index.columns), index.unique)
            for index in nothing.get_indexes(table)
            if " WHERE " not in (index.sql or "").upper() and not is_key(nothing, table, index.columns)
        }
        assert indexes_of_model(model) == found, model


def test_migrating_from_the_first_version_gives_exactly_the_schema(nothing: Database) -> None:
    with nothing.atomic() as transaction:
        migrations.upgrade(nothing)
        from_schema = describe(nothing)
        transaction.rollback()

    done = migrations.migrate(nothing, migrations.numbered())

    assert done == [migration.name for migration in migrations.numbered()]
    assert describe(nothing) == from_schema


def columns_of(database: Database, table: str) -> dict[str, Column]:
    return {
        column.name: Column(column.data_type.upper(), column.null, column.primary_key)
        for column in database.get_columns(table)
    }


def columns_of_model(model: type[Model]) -> dict[str, Column]:
    columns = {}
    for field in model._meta.sorted_fields:
        plain = field.rel_field if isinstance(field, ForeignKeyField) else field
        kind = next(kind for base, kind in SQL_TYPES.items() if isinstance(plain, base))
        columns[field.column_name] = Column(kind, field.null, field.primary_key)
    return columns


def is_key(database: Database, table: str, columns: list[str]) -> bool:
    return columns == [column.name for column in database.get_columns(table) if column.primary_key]


def indexes_of_model(model: type[Model]) -> set[tuple[tuple[str, ...], bool]]:
    several = {
        (tuple(model._meta.fields[name].column_name for name in names), is_unique)
        for names, is_unique in model._meta.indexes
    }
    single = {((field.column_name,), True) for field in model._meta.sorted_fields if field.unique}
    return several | single


def foreign_keys_of(database: Database, table: str) -> set[tuple[str, str, str]]:
    if isinstance(database, SqliteDatabase):
        rows = database.execute_sql(f"PRAGMA foreign_key_list({table})").fetchall()
        return {(row[3], row[2], row[6]) for row in rows}
    rows = database.execute_sql(
        "SELECT a.attname, f.relname, c.confdeltype FROM pg_constraint c"
        " JOIN pg_class t ON t.oid = c.conrelid JOIN pg_class f ON f.oid = c.confrelid"
        " JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = c.conkey[1]"
        " WHERE c.contype = 'f' AND t.relname = %s",
        (table,),
    ).fetchall()
    actions = {"a": "NO ACTION", "c": "CASCADE", "n": "SET NULL"}
    return {(column, target, actions[action]) for column, target, action in rows}


def describe(database: Database) -> dict[str, object]:
    """Everything that the database itself knows of its tables, in a form that can be compared."""
    return {
        table: (
            [tuple(column) for column in database.get_columns(table)],
            sorted(
                (index.name, index.sql, tuple(index.columns), index.unique) for index in database.get_indexes(table)
            ),
            foreign_keys_of(database, table),
            checks_of(database, table),
        )
        for table in sorted(database.get_tables())
    }


def checks_of(database: Database, table: str) -> list[str]:
    if isinstance(database, SqliteDatabase):
        [(text,)] = database.execute_sql("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchall()
        return sorted(" ".join(check.split()) for check in re.findall(r"CHECK \((?:[^()]|\([^()]*\))*\)", text))
    rows = database.execute_sql(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'c' AND conrelid = %s::regclass", (table,)
    )
    return sorted(check for (check,) in rows.fetchall())
