"""What a mode such as "rb+" means: the rules of the builtin `open`, with its messages."""

from __future__ import annotations

import os
from dataclasses import dataclass

__all__ = ["Mode"]

_FLAGS = {
    "r": 0,
    "w": os.O_CREAT | os.O_TRUNC,
    "x": os.O_CREAT | os.O_EXCL,
    "a": os.O_CREAT | os.O_APPEND,
}


@dataclass(frozen=True, slots=True)
class Mode:
    """One parsed mode. `text` is what was given, `raw` how a binary file of the standard library calls itself."""

    text: str
    is_text: bool
    can_read: bool
    can_write: bool
    is_append: bool
    flags: int
    raw: str

    @classmethod
    def parse(cls, mode: str) -> Mode:
        """`ValueError` for what is no mode, `TypeError` for what is no text."""
        if not isinstance(mode, str):
            raise TypeError(f"open() argument 'mode' must be str, not {type(mode).__name__}")
        letters = set(mode)
        if letters - set("rwxabt+") or len(mode) > len(letters):
            raise ValueError(f"invalid mode: {mode!r}")
        if "t" in letters and "b" in letters:
            raise ValueError("can't have text and binary mode at once")
        action = letters & set("rwxa")
        if len(action) != 1:
            raise ValueError("must have exactly one of create/read/write/append mode")
        letter = action.pop()
        updating = "+" in letters
        can_read = letter == "r" or updating
        can_write = letter != "r" or updating
        access = os.O_RDWR if can_read and can_write else os.O_RDONLY if can_read else os.O_WRONLY
        # FileIO calls a file that was opened with "w+" by what one could open it with again.
        raw = {"r": "rb+" if updating else "rb", "w": "rb+" if updating else "wb"}.get(
            letter, f"{letter}b{'+' if updating else ''}"
        )
        return cls(mode, "b" not in letters, can_read, can_write, letter == "a", access | _FLAGS[letter], raw)
