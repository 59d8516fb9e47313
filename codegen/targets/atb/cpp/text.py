"""Names and comments as C++ wants them."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable

_WIDTH = 96
_PRINTABLE = re.compile(r"[^ -~]")
#: Words that cannot name anything.
KEYWORDS = frozenset(
    "alignas alignof and and_eq asm auto bitand bitor bool break case catch char char16_t char32_t "
    "char8_t class co_await co_return co_yield compl concept const const_cast consteval constexpr "
    "constinit continue decltype default delete do double dynamic_cast else enum explicit export "
    "extern false float for friend goto if inline int long mutable namespace new noexcept not "
    "not_eq nullptr operator or or_eq private protected public register reinterpret_cast requires "
    "return short signed sizeof static static_assert static_cast struct switch template this "
    "thread_local throw true try typedef typeid typename union unsigned using virtual void "
    "volatile wchar_t while xor xor_eq".split()
)


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
    plain = re.sub(r"\?{2,}", "?", plain)  # ??/ is a backslash to some compilers
    return tuple(textwrap.wrap(plain, width))


class Names:
    """Gives every key a name of its own.

    Args:
        reserved: Names that nothing gets.
    """

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self._names: dict[object, str] = {}
        self._reserved = frozenset(reserved)

    def name(self, key: object, wanted: str) -> str:
        """The name of a key, ``wanted`` where it is free."""
        if key not in self._names:
            taken = {*self._names.values(), *self._reserved}
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
