"""How two values of one kind become one: rules, and what they are made of.

Invariants: every rule is commutative and associative, and None is its neutral element; so it does not matter who puts
what together, in which order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import msgspec

Rule = Callable[[Any, Any], Any]


def _unless_none(rule: Rule) -> Rule:
    def merge(one: Any, other: Any) -> Any:
        if one is None or other is None:
            return other if one is None else one
        return rule(one, other)

    return merge


def _order(value: Any) -> bytes:
    return msgspec.json.encode(value, order="deterministic")


@_unless_none
def total(one: Any, other: Any) -> Any:
    """Their sum; of lists and dicts, that of what stands in the same place."""
    if isinstance(one, list):
        return [total(a, b) for a, b in zip_longest(one, other)]
    if isinstance(one, dict):
        return {key: total(one.get(key), other.get(key)) for key in {**one, **other}}
    return one + other


@_unless_none
def most(one: Any, other: Any) -> Any:
    """The larger one; of truth values: whether either is true."""
    return max(one, other)


@_unless_none
def least(one: Any, other: Any) -> Any:
    """The smaller one; of truth values: whether both are true."""
    return min(one, other)


@_unless_none
def either(one: Any, other: Any) -> Any:
    """One of the two, always the same: for what all say alike, but for an instant in which it is changed."""
    return max(one, other, key=_order)


def first_of(*order: str) -> Rule:
    """Return the rule by which the one wins that stands earlier in `order`; what is not in it stands last."""

    def rank(value: str) -> tuple[int, str]:
        return (order.index(value) if value in order else len(order)), value

    return _unless_none(lambda one, other: min(one, other, key=rank))


def fields(rules: Mapping[str, Rule], *, rest: Rule = either) -> Rule:
    """Return the rule for dicts, by rules for their fields."""

    def merge(one: Any, other: Any) -> Any:
        return {name: rules.get(name, rest)(one.get(name), other.get(name)) for name in {**one, **other}}

    return _unless_none(merge)


def each(rule: Rule) -> Rule:
    """Return the rule for dicts whose values all are of one kind."""
    return fields({}, rest=rule)


def rows(key: str, rule: Rule) -> Rule:
    """Return the rule for lists of dicts that are told apart by `key`; they come in its order."""

    def merge(one: Any, other: Any) -> Any:
        found: dict[Any, Any] = {}
        for row in (*one, *other):
            found[row[key]] = rule(found.get(row[key]), row)
        return [found[name] for name in sorted(found)]

    return _unless_none(merge)


def aligned(rule: Rule) -> Rule:
    """Return the rule for lists in which the same place is the same thing."""
    return _unless_none(lambda one, other: [rule(a, b) for a, b in zip_longest(one, other)])


def newest(count: int, *, by: Sequence[str]) -> Rule:
    """Return the rule for lists of dicts of which so many are kept, those that are last by the fields `by`.

    Those that are the same in these fields are one.
    """

    def place(row: Any) -> tuple[Any, ...]:
        return tuple(row[name] for name in by)

    def merge(one: Any, other: Any) -> Any:
        found: dict[Any, Any] = {}
        for row in (*one, *other):
            found[place(row)] = either(found.get(place(row)), row)
        return [found[at] for at in sorted(found)][-count:]

    return _unless_none(merge)
