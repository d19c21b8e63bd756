"""Metric math of CloudWatch: expressions over time series, as far as infra/alarms.yaml uses them.

A time series is a list of numbers, the oldest first, with None where a data point is missing. All series of one
expression have the same times. The rules are those of "Using metric math" in the CloudWatch user guide:

- Arithmetic and comparison take a missing value as 0, if the other series has a value at that time.
- SUM and MAX of several series have a value where one of the series has one.
- FILL fills what is missing, TIME_SERIES has a value everywhere, and DIFF needs a value and the one before it.
- IF drops the point where its condition is missing.
"""

import itertools
import operator
import re

Series = list
TOKEN = re.compile(r"\s*(?:(\d+(?:\.\d+)?)|([A-Za-z_]\w*)|(>=|<=|==|!=|&&|\|\||[-+*/<>()\[\],]))")
COMPARISONS = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le, "==": operator.eq, "!=": operator.ne,
}
ARITHMETIC = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
LOGIC = {
    "AND": lambda a, b: bool(a) and bool(b), "&&": lambda a, b: bool(a) and bool(b),
    "OR": lambda a, b: bool(a) or bool(b), "||": lambda a, b: bool(a) or bool(b),
}


class ExpressionError(Exception):
    """An expression that this module cannot compute. The message says which part."""


def compute(expression: str, metrics: dict[str, Series], length: int, fills_empty: bool = False) -> Series:
    """Returns the series of an expression. `metrics` has the series by their ids, each of `length` points.

    AWS does not say whether FILL fills a series that has no point at all. `fills_empty` decides it.
    """
    result = Parser(expression, metrics, length, fills_empty).parse()
    if not isinstance(result, list) or (result and isinstance(result[0], list)):
        raise ExpressionError(f"`{expression}` is not one time series; an alarm watches one")
    return result


class Parser:
    """A parser by recursive descent that computes while it reads."""

    def __init__(self, expression: str, metrics: dict[str, Series], length: int, fills_empty: bool):
        self.expression, self.metrics, self.length, self.fills_empty = expression, metrics, length, fills_empty
        self.tokens, place = [], 0
        while place < len(expression.rstrip()):
            if not (found := TOKEN.match(expression, place)):
                raise ExpressionError(f"cannot read `{expression[place:]}` of `{expression}`")
            self.tokens.append(found.group().strip())
            place = found.end()
        self.at = 0

    def parse(self):
        result = self.logic()
        if self.at < len(self.tokens):
            raise ExpressionError(f"`{self.tokens[self.at]}` follows a complete expression in `{self.expression}`")
        return result

    def peek(self) -> str | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def take(self, wanted: str | None = None) -> str:
        token = self.peek()
        if token is None or (wanted and token != wanted):
            raise ExpressionError(f"found `{token}`, expected `{wanted}` in `{self.expression}`")
        self.at += 1
        return token

    def logic(self):
        return self.chain(LOGIC, self.comparison)

    def comparison(self):
        return self.chain(COMPARISONS, self.sum)

    def sum(self):
        return self.chain({sign: ARITHMETIC[sign] for sign in "+-"}, self.product)

    def product(self):
        return self.chain({sign: ARITHMETIC[sign] for sign in "*/"}, self.operand)

    def chain(self, operators: dict, part):
        left = part()
        while self.peek() in operators:
            rule = operators[self.take()]
            left = self.both(rule, left, part())
        return left

    def operand(self):
        token = self.take()
        if token == "-":
            return self.both(operator.sub, 0, self.operand())
        if token == "(":
            inner = self.logic()
            self.take(")")
            return inner
        if token == "[":
            return self.listed("]")
        if re.fullmatch(r"\d+(\.\d+)?", token):
            return float(token)
        if self.peek() == "(":
            self.take("(")
            return self.call(token, self.listed(")"))
        if token not in self.metrics:
            raise ExpressionError(f"`{token}` is not the id of a metric, in `{self.expression}`")
        return self.metrics[token]

    def listed(self, end: str) -> list:
        arguments = []
        while self.peek() != end:
            arguments.append(self.logic())
            if self.peek() != end:
                self.take(",")
        self.take(end)
        return arguments

    def call(self, name: str, arguments: list):
        match name, arguments:
            case "METRICS", []:
                return list(self.metrics.values())
            case "SUM", [list() as many]:
                return self.together(name, sum, many)
            case "MAX", [list() as many]:
                return self.together(name, max, many)
            case "FILL", [list() as series, float() as value] if not is_many(series):
                is_filled = self.fills_empty or any(point is not None for point in series)
                return [value if point is None else point for point in series] if is_filled else series
            case "TIME_SERIES", [float() as value]:
                return [value] * self.length
            case "DIFF", [list() as series] if not is_many(series):
                pairs = itertools.pairwise(series)
                return [None] + [None if None in (old, new) else new - old for old, new in pairs]
            case "IF", [list() as condition, then, *otherwise]:
                return self.choose(condition, then, otherwise)
        raise ExpressionError(f"`{name}` with these arguments is not known here, in `{self.expression}`")

    def together(self, name: str, rule, many: list) -> Series:
        if not is_many(many):
            raise ExpressionError(f"{name} of one series is a number over the whole range, which alarms must not use")
        points = ([point for point in at if point is not None] for at in zip(*many))
        return [rule(at) if at else None for at in points]

    def choose(self, condition: Series, then, otherwise: list) -> Series:
        chosen = []
        for place, holds in enumerate(condition):
            if holds is None:
                chosen.append(None)
            elif holds:
                value = at(then, place)
                chosen.append(0 if value is None else value)
            else:
                chosen.append(at(otherwise[0], place) if otherwise else None)
        return chosen

    def both(self, rule, left, right):
        if not isinstance(left, list) and not isinstance(right, list):
            return float(rule(left, right))
        if isinstance(left, list) and isinstance(right, list):
            return [pair(rule, *points) for points in zip(left, right, strict=True)]
        # With a number, a gap stays a gap: the guide speaks of gaps in "the other time series" only.
        gaps = left if isinstance(left, list) else right
        return [None if gap is None else pair(rule, at(left, place), at(right, place)) for place, gap in enumerate(gaps)]


def pair(rule, left: float | None, right: float | None) -> float | None:
    if left is None and right is None:
        return None
    try:
        return float(rule(left or 0, right or 0))
    except ZeroDivisionError:
        return None  # "If the value of a data point causes a function to divide by zero, the data point is dropped."


def at(value, place: int):
    return value[place] if isinstance(value, list) else value


def is_many(value: list) -> bool:
    return bool(value) and isinstance(value[0], list)
