"""Names, strings and comments as C++ wants them."""

from __future__ import annotations

import re
import textwrap

_WIDTH = 96
_PRINTABLE = re.compile(r"[^ -~]")


def words(name: str) -> list[str]:
    """The words of a name: ``self_attn.qkv_proj`` -> ``self``, ``attn``, ``qkv``, ``proj``."""
    return [word for word in re.split(r"[^A-Za-z0-9]+", name) if word]


def camel(name: str) -> str:
    """``self_attn.qkv_proj`` -> ``SelfAttnQkvProj``."""
    return "".join(word[:1].upper() + word[1:] for word in words(name))


def upper(name: str) -> str:
    """``self_attn.qkv_proj`` -> ``SELF_ATTN_QKV_PROJ``."""
    return "_".join(words(name)).upper()


def comment(text: str, width: int = _WIDTH) -> tuple[str, ...]:
    """Lines of a ``//`` comment.

    Whatever the text holds, no line can continue on the next one or end the comment.
    """
    plain = _PRINTABLE.sub("?", text).replace("\\", "/")
    return tuple(textwrap.wrap(plain, width))


def string(text: str) -> str:
    """A string literal that holds exactly this text, as UTF-8 in ASCII source."""
    made: list[str] = []
    for byte in text.encode("utf-8"):
        char = chr(byte)
        # Octal, because a hexadecimal escape would swallow the digits behind it.
        plain = char.isascii() and char.isprintable() and char not in '"\\?'
        made.append(char if plain else f"\\{byte:03o}")
    return f'"{"".join(made)}"'


class Names:
    """Gives every key a name of its own."""

    def __init__(self) -> None:
        self._names: dict[object, str] = {}

    def name(self, key: object, wanted: str) -> str:
        """The name of a key, ``wanted`` where it is free."""
        if key not in self._names:
            taken = set(self._names.values())
            name, count = wanted, 1
            while name in taken:
                count += 1
                name = f"{wanted}_{count}"
            self._names[key] = name
        return self._names[key]


def variable(name: str) -> str:
    """``hidden_states`` -> ``hiddenStates``."""
    made = camel(name)
    return made[:1].lower() + made[1:]
