"""Classes, functions, enums and constants of some C++ files, by name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from tree_sitter import Node

from codegen.targets.atb.cpp_model import syntax
from codegen.targets.atb.cpp_model.syntax import SourceFile, last_name, named, text

_NAME = re.compile(r"~?\w+", re.ASCII)
_CLASSES = ("class_specifier", "struct_specifier")
#: What may hold declarations, apart from namespaces and classes.
_AROUND = (
    "ERROR",
    "declaration_list",
    "field_declaration_list",
    "linkage_specification",
    "preproc_elif",
    "preproc_else",
    "preproc_if",
    "preproc_ifdef",
    "template_declaration",
    "translation_unit",
)

#: A qualified name, ``("atb_speed", "llama", "LlamaDecoderModel")``.
Name = tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Function:
    """A function with a body.

    Attributes:
        name: Its own name.
        scope: The class or namespace that it belongs to.
        file: Where it is.
        node: Its definition.
    """

    name: str
    scope: Name
    file: SourceFile
    node: Node

    @property
    def body(self) -> Node:
        """The statements."""
        return syntax.field(self.node, "body") or self.node


@dataclass(frozen=True, eq=False)
class Member:
    """A variable of a class.

    Attributes:
        type: Its type as written.
        default: Its initializer.
        file: Where it is.
    """

    type: str
    default: Node | None
    file: SourceFile


@dataclass(frozen=True, eq=False)
class Class:
    """A class with a body.

    Attributes:
        name: Its qualified name.
        bases: The classes it derives from, as written.
        members: Its variables by name.
        file: Where it is.
        node: Its definition.
    """

    name: Name
    bases: tuple[Name, ...]
    members: dict[str, Member]
    file: SourceFile
    node: Node


@dataclass(frozen=True, eq=False)
class Enum:
    """An enumeration.

    Attributes:
        name: Its qualified name.
        entries: Name and initializer of each enumerator, in order.
        file: Where it is.
        node: Its definition.
    """

    name: Name
    entries: tuple[tuple[str, Node | None], ...]
    file: SourceFile
    node: Node


@dataclass
class Index:
    """Everything that is defined in some files.

    Attributes:
        classes: Classes by qualified name.
        methods: Functions by scope and name; of overloads the first.
        enums: All enumerations.
        constants: Initialized variables outside of functions, by name.
    """

    classes: dict[Name, Class] = field(default_factory=dict[Name, Class])
    methods: dict[tuple[Name, str], Function] = field(
        default_factory=dict[tuple[Name, str], Function]
    )
    enums: list[Enum] = field(default_factory=list[Enum])
    constants: dict[str, Node] = field(default_factory=dict[str, Node])

    def resolve(self, name: Name, scope: Name) -> Class | None:
        """The class that a name means inside a scope."""
        for length in range(len(scope), -1, -1):
            found = self.classes.get((*scope[:length], *name))
            if found is not None:
                return found
        return None

    def method(self, chain: Iterable[Class], name: str) -> Function | None:
        """The method that a call means, given a class and its bases, the class itself first."""
        for owner in chain:
            found = self.methods.get((owner.name, name))
            if found is not None:
                return found
        return None

    def called(
        self, chain: Sequence[Class], callee: Name, scope: Name, this: bool
    ) -> Function | None:
        """The function that a call inside a class means.

        Args:
            chain: The class of the object and its bases, the class itself first.
            callee: The name as written.
            scope: The class or namespace of the calling function.
            this: The call is made on the object, so it is no free function.
        """
        *owner, name = callee
        if not owner:
            own = self.method(chain, name)
            return own if own is not None or this else self.function(name, scope)
        # The name of a base is known inside the classes that derive from it.
        own = [position for position, cls in enumerate(chain) if cls.name == scope]
        inside = chain[own[0] :] if own and len(owner) == 1 else ()
        known = [cls for cls in inside if cls.name[-1] == owner[0]]
        start = next(iter(known), None) or self.resolve(tuple(owner), scope)
        return self.method(chain[chain.index(start) :], name) if start in chain else None

    def function(self, name: str, scope: Name) -> Function | None:
        """A function outside of classes."""
        for length in range(len(scope), -1, -1):
            found = self.methods.get((scope[:length], name))
            if found is not None:
                return found
        return None


def index(files: Iterable[SourceFile]) -> Index:
    """Collects what files define."""
    made = Index()
    for file in files:
        _collect(file, made)
    return made


def names_of(node: Node | None) -> Name:
    """The parts of a name as written; empty if it is none."""
    return tuple(_NAME.findall(re.sub(r"<.*", "", text(node), flags=re.DOTALL)))


def _collect(file: SourceFile, made: Index) -> None:
    stack: list[tuple[Node, Name]] = [(file.root, ())]
    while stack:
        node, scope = stack.pop()
        inside: Node | None = None
        if node.type == "namespace_definition":
            inside = syntax.field(node, "body")
            scope = (*scope, *names_of(syntax.field(node, "name")))
        elif node.type in _CLASSES:
            inside = syntax.field(node, "body")
            if inside is not None:
                scope = (*scope, *names_of(syntax.field(node, "name")))
                made.classes.setdefault(scope, _class(file, node, inside, scope))
        elif node.type == "enum_specifier":
            _enum(file, node, scope, made)
        elif node.type == "function_definition":
            _function(file, node, scope, made)
        elif node.type in ("declaration", "field_declaration"):
            _constant(node, made)
            kind = syntax.field(node, "type")
            if kind is not None and kind.type in (*_CLASSES, "enum_specifier"):
                stack.append((kind, scope))
        elif node.type in _AROUND:
            inside = node
        if inside is not None:
            stack.extend((child, scope) for child in reversed(named(inside)))


def _class(file: SourceFile, node: Node, body: Node, name: Name) -> Class:
    bases: list[Name] = []
    for clause in named(node):
        if clause.type == "base_class_clause":
            bases += [names_of(b) for b in named(clause) if b.type != "access_specifier"]
    members: dict[str, Member] = {}
    for declared in _members(body):
        kind = syntax.field(declared, "type")
        default = syntax.field(declared, "default_value")
        for target in declared.children_by_field_name("declarator"):
            if target.type == "field_identifier":
                members[text(target)] = Member(text(kind), default, file)
    return Class(name, tuple(bases), members, file, node)


def _members(body: Node) -> Iterator[Node]:
    for child in named(body):
        if child.type == "field_declaration":
            yield child


def _enum(file: SourceFile, node: Node, scope: Name, made: Index) -> None:
    body = syntax.field(node, "body")
    if body is None:
        return
    entries = tuple(
        (text(syntax.field(entry, "name")), syntax.field(entry, "value"))
        for entry in named(body)
        if entry.type == "enumerator"
    )
    made.enums.append(Enum((*scope, *names_of(syntax.field(node, "name"))), entries, file, node))


def _function(file: SourceFile, node: Node, scope: Name, made: Index) -> None:
    declarator = syntax.field(node, "declarator")
    while declarator is not None and declarator.type != "function_declarator":
        inner = syntax.field(declarator, "declarator")
        declarator = inner or next(iter(named(declarator)), None)
    if declarator is None:
        return
    name = names_of(syntax.field(declarator, "declarator"))
    if name:
        found = Function(name[-1], (*scope, *name[:-1]), file, node)
        made.methods.setdefault((found.scope, found.name), found)


def _constant(node: Node, made: Index) -> None:
    for target in node.children_by_field_name("declarator"):
        value = syntax.field(target, "value")
        if target.type == "init_declarator" and value is not None:
            name = last_name(syntax.field(target, "declarator"))
            if name:
                made.constants.setdefault(name, value)
