"""Statements of the hot path, whose SQL is written once instead of each time.

Writing a statement's SQL costs Django several times what the database needs to carry it out: of a
turn's own row with what it is joined to, 1.3 ms of 1.7. Such a statement is the same each time but
for its values, so its SQL is kept and only the values are filled in; so is what turns rows into
objects.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Generic, ParamSpec, TypeVar
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.models import Field, Model, QuerySet
from django.db.models.query import ModelIterable, ValuesListIterable, get_related_populators

P = ParamSpec("P")
T = TypeVar("T")


Row = Sequence[Any]


@dataclass(frozen=True, slots=True)
class Written:
    """A query as it was written, with marks where values go."""

    sql: str
    params: list[Any]
    places: list[tuple[int, int]]
    """Of each mark among `params`: where it is, and which value belongs there."""
    made: Callable[[Row], Any]
    """Makes of a row what the query's rows are made of."""


class Prepared(Generic[P, T]):
    """A function that makes a query from ids, texts and times; called, it returns the rows.

    Use as a decorator. The function is called once for each number of arguments: but for these,
    given by position, the query may depend on nothing that changes.
    """

    def __init__(self, write: Callable[P, QuerySet[Any, T]]) -> None:
        self._write = write
        self._written: dict[int, Written] = {}
        """By how many values there are: `*ids` may be as many as its caller likes."""
        self.__doc__ = write.__doc__

    def __call__(self, *values: P.args, **no_others: P.kwargs) -> list[T]:
        """Return the rows of the query with these values."""
        assert not no_others, "values are given by position"
        written = self._written.get(len(values)) or self._prepare(values)
        params = written.params.copy()
        for place, number in written.places:
            params[place] = _adapted(values[number])
        with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
            cursor.execute(written.sql, params)
            rows = cursor.fetchall()
        return [written.made(row) for row in rows]

    def first(self, *values: P.args, **no_others: P.kwargs) -> T | None:
        """Return the first row, or None."""
        return next(iter(self(*values, **no_others)), None)

    def _prepare(self, values: tuple[Any, ...]) -> Written:
        marks = [_mark(value, number) for number, value in enumerate(values)]
        write: Callable[..., QuerySet[Any, T]] = self._write
        queryset = write(*marks)
        compiler = queryset.query.get_compiler(connection=connection)
        sql, params = compiler.as_sql()
        adapted = [_adapted(mark) for mark in marks]
        places = [(at, adapted.index(one)) for at, one in enumerate(params) if one in adapted]
        assert {number for _, number in places} == {*range(len(marks))}, "a value that is not used"
        self._written[len(values)] = Written(sql, list(params), places, _maker(queryset, compiler))
        return self._written[len(values)]


def _maker(queryset: QuerySet[Any, Any], compiler: Any) -> Callable[[Row], Any]:
    """Return what makes objects, or tuples, of the rows of a query that has been written.

    As Django's own iterables do it, but for what is the same for each row and each time.
    """
    width = compiler.col_count
    convert = _converter(compiler, [column[0] for column in compiler.select[:width]])
    match queryset._iterable_class:
        case kind if kind is ValuesListIterable:
            return lambda row: tuple(convert(row[:width]))
        case kind if kind is not ModelIterable or compiler.annotation_col_map:
            raise TypeError("a prepared query's rows are objects or tuples")
    kinds, select = compiler.klass_info, compiler.select
    first, last = kinds["select_fields"][0], kinds["select_fields"][-1]
    names = [column[0].target.attname for column in select[first : last + 1]]
    # Since Django 6.1 it is told how to fetch what is not loaded.
    given = [queryset._fetch_mode] if hasattr(queryset, "_fetch_mode") else []
    related = get_related_populators(kinds, select, DEFAULT_DB_ALIAS, *given)
    from_db = kinds["model"].from_db

    def make(row: Row) -> Any:
        row = convert(row)
        made = from_db(DEFAULT_DB_ALIAS, names, row[first : last + 1])
        for populator in related:
            populator.populate(row, made)
        return made

    return make


def _converter(compiler: Any, columns: list[Any]) -> Callable[[Row], Row]:
    """Return what makes Python's values of the database's."""
    converters = [
        (place, convert, column)
        for place, (found, column) in compiler.get_converters(columns).items()
        for convert in found
    ]

    def convert(row: Row) -> Row:
        converted, here = list(row), connections[DEFAULT_DB_ALIAS]
        for place, to_python, column in converters:
            converted[place] = to_python(converted[place], column, here)
        return converted

    return convert


class Update:
    """An UPDATE that sets `fields`, and clears `clears`, where `where` have given values and
    `also` holds.

    Called with all of the values by name, it returns how many rows there were.
    """

    def __init__(
        self,
        model: type[Model],
        *fields: str,
        clears: Sequence[str] = (),
        where: Sequence[str] = ("id",),
        also: str = "",
    ) -> None:
        self._fields = [_field(model, name) for name in (*fields, *where)]
        columns = [f"{field.column} = %s" for field in self._fields]
        cleared = [f"{_field(model, name).column} = NULL" for name in clears]
        set_to = ", ".join([*columns[: len(fields)], *cleared])
        holds = " AND ".join([*([also] if also else []), *columns[len(fields) :]])
        # All of it is names of ours.
        self.sql = f"UPDATE {model._meta.db_table} SET {set_to} WHERE {holds}"  # noqa: S608

    def __call__(self, **values: Any) -> int:
        """Carry it out."""
        here = connections[DEFAULT_DB_ALIAS]
        return _count(here, self.sql, self._params(values, here))

    def save(self, one: Model) -> int:
        """Carry it out with the values that this object has."""
        return self(**{field.name: getattr(one, field.name) for field in self._fields})

    def among(self, keys: Sequence[Any], **values: Any) -> int:
        """Carry it out for all rows with one of these keys, which the last of `where` names."""
        *fields, key = self._fields
        here = connections[DEFAULT_DB_ALIAS]
        params = [field.get_db_prep_save(values[field.name], here) for field in fields]
        params += [key.get_db_prep_save(one, here) for one in keys]
        sql = self.sql.removesuffix("= %s") + f"IN ({', '.join(['%s'] * len(keys))})"
        return _count(here, sql, params)

    def each(self, rows: Iterable[dict[str, Any]], **of_all: Any) -> int:
        """Carry it out once for each of these, and all of them with the values `of_all`."""
        here = connections[DEFAULT_DB_ALIAS]
        ready = {
            field.name: field.get_db_prep_save(of_all[field.name], here)
            for field in self._fields
            if field.name in of_all
        }
        with here.cursor() as cursor:
            cursor.executemany(self.sql, [self._params(values, here, ready) for values in rows])
            count: int = cursor.rowcount
        return count

    def _params(
        self, values: dict[str, Any], here: Any, ready: Mapping[str, Any] = MappingProxyType({})
    ) -> list[Any]:
        named = len(values) + len(ready)
        assert named == len(self._fields), "all values are given, each by its field's name"
        return [
            ready[field.name]
            if field.name in ready
            else field.get_db_prep_save(values[field.name], here)
            for field in self._fields
        ]


def _count(here: Any, sql: str, params: list[Any]) -> int:
    with here.cursor() as cursor:
        cursor.execute(sql, params)
        count: int = cursor.rowcount
    return count


class Insert:
    """An INSERT of whole objects, whose keys are their own."""

    def __init__(self, model: type[Model]) -> None:
        self._fields = model._meta.local_concrete_fields
        columns = ", ".join(f"{field.column}" for field in self._fields)
        self._into = f"INSERT INTO {model._meta.db_table} ({columns})"
        self._row = f"({', '.join(['%s'] * len(self._fields))})"

    def __call__(self, *objects: Model) -> None:
        """Store them, all by one statement."""
        here = connections[DEFAULT_DB_ALIAS]
        params = [
            field.get_db_prep_save(field.pre_save(one, add=True), here)
            for one in objects
            for field in self._fields
        ]
        with here.cursor() as cursor:
            cursor.execute(f"{self._into} VALUES {', '.join([self._row] * len(objects))}", params)
        for one in objects:
            one._state.adding, one._state.db = False, DEFAULT_DB_ALIAS


def _field(model: type[Model], name: str) -> "Field[Any, Any]":
    field = model._meta.get_field(name)
    assert isinstance(field, Field), f"{name} is no column"
    return field


def _mark(value: Any, number: int) -> Any:
    """Return a value of the same kind that stands in no query."""
    match value:
        case UUID():
            return UUID(int=2**127 + number)
        case datetime():
            return datetime(9000 + number, 1, 1, tzinfo=UTC)
        case str():
            return f"\ue000{number}"
        case _:
            raise TypeError(f"a prepared query takes no {type(value).__name__}")


def _adapted(value: Any) -> Any:
    """Return a value as the database's driver takes it."""
    match value:
        case UUID() if not connection.features.has_native_uuid_field:
            return value.hex
        case datetime():
            return connection.ops.adapt_datetimefield_value(value)
        case _:
            return value
