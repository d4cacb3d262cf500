"""Statements with named parameters, as SQLAlchemy's `text` has them, in the form that PostgreSQL reads."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from db.arrays import read_array_types, write_array, write_binary

# No cast (`::`), and nothing within a word.
_PARAMETER = re.compile(r"(?<![:\w]):([a-z]\w*)")


class Sql:
    """A statement, made once: `query` counts its parameters (`$1`), where `text` names them (`:id`).

    One that is `planned_anew` is planned for its values each time. All others come to be run by one plan for all
    values, which is bad where one value has a few rows and another one millions.
    """

    __slots__ = ("_array_types", "_names", "planned_anew", "query", "text")

    def __init__(self, text: str, *, planned_anew: bool = False) -> None:
        """Read the parameters. Errors: ValueError for an array of a kind that `db.arrays` does not write."""
        self.text = text
        self.planned_anew = planned_anew
        names = {name: number for number, name in enumerate(dict.fromkeys(_PARAMETER.findall(text)), 1)}
        self.query = _PARAMETER.sub(lambda found: f"${names[found[1]]}", text).encode()
        self._names = tuple(names)
        self._array_types = read_array_types(text)

    def bind(self, values: Mapping[str, Any]) -> Sequence[Any]:
        """Return the values in the order of the parameters, lists as arrays.

        Errors: KeyError for a missing one.
        """
        types = self._array_types
        return [
            value
            if type(value := values[name]) is not list
            else write_binary(value, types[name])
            if name in types
            else write_array(value)
            for name in self._names
        ]
