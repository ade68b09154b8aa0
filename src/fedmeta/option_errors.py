"""What is wrong with options, in the words of the other errors."""

from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

# pydantic's types of errors -> what was expected; braces: of the error's context
EXPECTED = {
    "greater_than": "more than {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "less than {lt}",
    "less_than_equal": "{le} or less",
    "finite_number": "a finite number",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "a text",
    "literal_error": "{expected}",
    "none_required": "null",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping of options",
    "model_type": "a mapping of options",
    "too_short": "{min_length} or more of them",
    "too_long": "{max_length} or fewer of them",
}


def in_words(error: ValidationError, known: Iterable[str]) -> str:
    """One phrase a problem: which option, what is expected, what was given.

    Args:
        error: pydantic's.
        known: names of the options that there are, without those within others.
    """
    phrases = [_phrase(problem, known) for problem in error.errors()]
    return "; ".join(dict.fromkeys(phrases))


def _phrase(problem: Any, known: Iterable[str]) -> str:
    path = ".".join(str(part) for part in problem["loc"])
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "extra_forbidden":
        within = len(problem["loc"]) > 1
        there = "" if within else f"; known are {', '.join(known)}"
        return f"unknown option {path!r}{there}"
    if kind == "missing":
        return f"option {path!r} is missing"
    if kind in EXPECTED:
        said = f"expected {EXPECTED[kind].format(**_short(context))}"
    else:
        said = str(context.get("error", problem["msg"]))
    if not path:
        return said
    return f"option {path!r}: {said} (given: {problem['input']!r})"


def _short(context: dict[str, Any]) -> dict[str, Any]:
    """Numbers as people write them: 1, not 1.0."""
    return {k: f"{v:g}" if isinstance(v, float) else v for k, v in context.items()}
