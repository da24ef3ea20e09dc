"""Formulas in Wilkinson notation, which may contain names of columns and a few functions.

The library formulaic evaluates formulas as Python code. So a formula is checked here first: what is
not in :data:`FUNCTIONS` and not a column of the table is refused before anything is evaluated.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from formulaic import Formula
from formulaic.errors import FormulaicError
from formulaic.parser.algos.tokenize import tokenize
from formulaic.parser.types import Token

from opnmf_pipeline.exceptions import ConfigError

__all__ = ["FUNCTIONS", "Function", "categories_in", "columns_of", "joined"]


class Function(NamedTuple):
    """A function that a formula may call.

    Attributes
    ----------
    summary : str
        What it does, for the documentation.
    options : tuple of str
        Names of its options; their values are numbers.
    """

    summary: str
    options: tuple[str, ...] = ()


FUNCTIONS = {
    "bs": Function("cubic B-spline", ("df", "degree", "knots")),
    "cr": Function("natural cubic spline", ("df", "knots")),
    "poly": Function("orthogonal polynomial", ("degree",)),
    "C": Function("categories, for a column of numbers"),
    "center": Function("the values minus their mean"),
    "scale": Function("the values minus their mean, divided by their standard deviation"),
    "log": Function("natural logarithm"),
    "I": Function("arithmetic, such as I(age ** 2)"),
}
"""Functions of formulas, by name."""

OPERATORS = re.compile(r"[-+*:/]")
LONGEST = 1000
"""Most characters of a formula."""
LARGEST_OPTION = 30
"""Largest number of degrees of freedom, and largest degree and exponent."""

MSG = "{key}: {formula!r}: {problem}"
UNKNOWN_MSG = "the participants table has no column {name!r}; it has: {columns}"
FUNCTION_MSG = "{name!r} is not a function of formulas; use one of: " + ", ".join(FUNCTIONS)
PART_MSG = (
    "{part!r} is not allowed; a formula contains names of columns, + - * : / and the functions "
    + ", ".join(FUNCTIONS)
)
INTERCEPT_MSG = "the formula removes the intercept, which every model has; remove 0 and - 1"


def joined(terms: str | Sequence[str]) -> str:
    """Return one formula from a formula or a list of its terms.

    Examples
    --------
    >>> joined(["age", "sex"])
    'age + sex'
    """
    return terms if isinstance(terms, str) else " + ".join(terms)


def columns_of(key: str, formula: str, known: Collection[str]) -> list[str]:
    """Return the columns that a formula names, and refuse everything that it must not contain.

    Nothing is evaluated.

    Parameters
    ----------
    key : str
        Setting that holds the formula, for messages.
    formula : str
        The right side of a formula in Wilkinson notation, such as ``bs(age, df=4) + sex``. Names
        that are no words are written in backticks.
    known : collection of str
        Columns of the table.

    Returns
    -------
    list of str
        In the order of the formula, each once.

    Raises
    ------
    ConfigError
        The formula is empty or no formula, names a column that does not exist, or contains code.
    """
    problem = ""
    try:
        found = list(dict.fromkeys(_columns(formula, known)))
        Formula(formula)  # parses, and evaluates nothing
        if not found:
            problem = "the formula names no column"
    except (SyntaxError, FormulaicError) as error:
        found, problem = [], "cannot be read as a formula: " + str(error).partition("\n")[0]
    except ValueError as error:
        found, problem = [], str(error)
    if problem:
        raise ConfigError(MSG.format(key=key, formula=formula, problem=problem))
    return found


def categories_in(formula: str, known: Collection[str]) -> set[str]:
    """Return the columns of numbers that a checked formula takes for categories, as in C(site)."""
    calls = [token.token for token in tokenize(formula) if token.kind is Token.Kind.PYTHON]
    of_calls = (_columns_of_call(call, known) for call in calls if call.startswith("C("))
    return {name for names in of_calls for name in names}


def _columns(formula: str, known: Collection[str]) -> Iterator[str]:
    if len(formula) > LONGEST:
        raise ValueError(f"the formula has more than {LONGEST} characters")
    before = ""
    for token in tokenize(formula):
        text = token.token
        if token.kind is Token.Kind.NAME:
            yield _column(text, known)
        elif token.kind is Token.Kind.PYTHON:
            yield from _columns_of_call(text, known)
        elif text == "0" or (text == "1" and before.endswith("-")):
            raise ValueError(INTERCEPT_MSG)
        elif text not in ("1", "(", ")") and not _is_operator(token):
            raise ValueError(PART_MSG.format(part=text))
        before = text


def _is_operator(token: Token) -> bool:
    """Tell whether a token consists of operators; ``**`` could expand to any number of terms."""
    signs = all(OPERATORS.fullmatch(sign) for sign in token.token)
    return token.kind is Token.Kind.OPERATOR and signs and "**" not in token.token


def _column(name: str, known: Collection[str]) -> str:
    name = name.strip("`")
    if name not in known:
        raise ValueError(UNKNOWN_MSG.format(name=name, columns=", ".join(map(str, known))))
    return name


def _columns_of_call(code: str, known: Collection[str]) -> Iterator[str]:
    """Yield the columns in a call of a function, such as ``bs(age, df=4)``."""
    names: dict[str, str] = {}

    def alias(quoted: re.Match[str]) -> str:
        names[f"_column{len(names)}"] = quoted[1]
        return f"_column{len(names) - 1}"

    tree = ast.parse(re.sub("`([^`]*)`", alias, code), mode="eval").body
    if not isinstance(tree, ast.Call):
        raise ValueError(PART_MSG.format(part=code))
    for name in _names(tree):
        yield _column(names.get(name, name), known)


def _names(node: ast.expr) -> Iterator[str]:
    """Yield the names of columns in an expression; refuse all that is no arithmetic on them."""
    match node:
        case ast.Name(id=name):
            yield name
        case ast.Constant(value=bool() | int() | float()):
            pass
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            yield from _names(operand)
        case ast.BinOp(left=left, op=ast.Pow(), right=exponent):
            names = list(_names(left))
            if not names:  # a power of numbers could have any number of digits
                raise ValueError(PART_MSG.format(part=ast.unparse(node)))
            _check_count(exponent)
            yield from names
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div(), right=right):
            yield from _names(left)
            yield from _names(right)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=options):
            if name not in FUNCTIONS:
                raise ValueError(FUNCTION_MSG.format(name=name))
            yield from _names_of_call(name, args, options)
        case _:
            raise ValueError(PART_MSG.format(part=ast.unparse(node)))


def _names_of_call(
    function: str, args: Sequence[ast.expr], options: Sequence[ast.keyword]
) -> Iterator[str]:
    for argument in args[:1]:
        yield from _names(argument)
    for argument in args[1:]:
        _check_count(argument)
    allowed = FUNCTIONS[function].options
    for option in options:
        if option.arg not in allowed:
            names = ", ".join(allowed) or "none"
            raise ValueError(f"{function} has no option {option.arg!r}; its options are: {names}")
        if option.arg == "knots":
            _check_knots(option.value)
        else:
            _check_count(option.value)


def _check_knots(value: ast.expr) -> None:
    try:
        knots = ast.literal_eval(value)
    except ValueError:
        knots = None
    if not isinstance(knots, list) or not all(isinstance(knot, int | float) for knot in knots):
        raise ValueError("knots must be a list of numbers, such as [30, 50]")


def _check_count(value: ast.expr) -> None:
    """Refuse options that are no small integers: they could make any number of columns."""
    number = value.value if isinstance(value, ast.Constant) else None
    if type(number) is not int or not 0 <= number <= LARGEST_OPTION:
        raise ValueError(f"{ast.unparse(value)!r} must be an integer from 0 to {LARGEST_OPTION}")
