"""What may be asked in SQL: one statement, which reads. The same holds for every engine.

This keeps a slip of the pen from costing a table, and says what is wrong in the same words. The engines refuse to write
by themselves as well; who means harm is kept out by a user of ClickHouse that may only read.
"""

from __future__ import annotations

import re

from resources.errors import QuantError

_READS = ("SELECT", "FROM", "WITH", "DESCRIBE", "EXPLAIN")
_WRITES = ("INSERT", "INTO", "UPDATE", "DELETE", "MERGE", "COPY", "CREATE")
"""What may follow WITH, EXPLAIN or a SELECT, and writes."""

_COMMENT = r"--[^\n]*|/\*.*?\*/"
_ODD = r"\$|\b[eE]'|[\u2018\u2019\u201c\u201d#]|--[^\n]*\r(?!\n)|/\*(?:(?!\*/).)*?/\*"
"""Where the engines do not agree on what is quoted, or a comment: $$texts$$, E'texts', curly quotes, comments
with #, of lines that end otherwise, and comments within comments."""
_QUOTED = r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`(?:[^`]|``)*`"
_ESCAPED = r"'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.|\"\")*\"|`(?:[^`\\]|\\.|``)*`"


class QuestionError(QuantError):
    """A text that is not one statement which reads."""


def question(text: str, *, backslash: bool) -> str:
    """The text's one statement. backslash: whether it escapes in the engine's texts what follows it.

    Raises QuestionError on no statement, on several, and on one that writes.

    Example: `question("SELECT 1; -- done", backslash=False)` is "SELECT 1"
    """
    words_only = bare(text, backslash=backslash)
    statements = [(found.start(), found.end()) for found in re.finditer(r"[^;]+", words_only) if found[0].strip()]
    if not statements:
        raise QuestionError("sql: it is empty; give one SELECT")
    if len(statements) > 1:
        raise QuestionError(f"sql: it is {len(statements)} statements; ask one at a time")
    start, end = statements[0]
    words = re.findall(r"\w+", words_only[start:end].upper()) or [words_only[start:end].strip()]
    if words[0] not in _READS:
        raise QuestionError(
            f"sql: {words[0]} is no question; only {', '.join(_READS)} are answered, nothing is written"
        )
    for word in _WRITES:
        if word in words:
            raise QuestionError(
                f"sql: {word} writes, and only questions are answered; a column of that name stands in quotes"
            )
    return text[start:end].strip()


def bare(text: str, *, backslash: bool) -> str:
    """The text's own words, where they stand: comments are blank, and what stands in quotes is all _.

    Raises QuestionError on what the engines do not read alike, and on quotes that are not closed.
    """
    quoted = _ESCAPED if backslash else _QUOTED
    blank = re.compile(f"(?P<odd>{_ODD})|{_COMMENT}|{quoted}|(?P<open>['\"`]|/\\*)", re.DOTALL)
    return blank.sub(_blanked, text)


def _blanked(found: re.Match[str]) -> str:
    if found["odd"] is not None:
        raise QuestionError(
            f"sql: {found[0][:20]!r} is not taken; write texts in single quotes, "
            "and comments as -- or /* */, none in another"
        )
    if found["open"] is not None:
        raise QuestionError(f"sql: the {found[0]} at letter {found.start() + 1} is not closed")
    return (" " if found[0][0] in "-/" else "_") * len(found[0])
