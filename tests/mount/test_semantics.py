"""Every numbered statement of docs/reference/semantics.md is named by a test ("States N1." in its docstring)."""

from __future__ import annotations

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "reference" / "semantics.md"


def promised() -> list[str]:
    return re.findall(r"^- \*\*([A-Z]\d+)\*\* ", PAGE.read_text(), re.MULTILINE)


def statements_of_tests() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in HERE.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                match = re.match(r"States ((?:[A-Z]\d+(?:, )?)+)\.", ast.get_docstring(node) or "")
                for number in match.group(1).split(", ") if match else []:
                    found.setdefault(number, []).append(f"{path.name}::{node.name}")
    return found


def test_every_statement_has_a_test() -> None:
    named = statements_of_tests()
    assert [number for number in promised() if number not in named] == []


def test_every_test_names_statements_that_exist() -> None:
    assert {number: names for number, names in statements_of_tests().items() if number not in promised()} == {}


def test_numbers_are_used_once() -> None:
    assert len(promised()) == len(set(promised())) > 40
