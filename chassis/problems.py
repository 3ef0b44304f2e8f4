"""What breaks a rule in a file that a department wrote, as every `check` command tells it."""

from __future__ import annotations

from typing import Any

from quanlian.terms_file import Problem


def problem_line(file: str, severity: str, problem: Problem) -> str:
    """One line, as compilers write it: file, line, severity, then the problem in both languages, and its source."""
    found = " ".join(part for part in (f"{problem.field}:" if problem.field else "", problem.value) if part)
    chinese, english = f"{problem.rule_zh} — {problem.remedy_zh}", f"{problem.rule} — {problem.remedy}"
    return f"{file}:{problem.line}: {severity}: {found} {chinese} · {english} [{problem.source}]"


def problem_data(file: str, problem: Problem) -> dict[str, Any]:
    return {"file": file, **problem._asdict()}
