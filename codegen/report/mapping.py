"""Which ATB operations each operation of the original model became.

A compiler does not keep such a list: norms and rotary embeddings are patterns of many operations,
projections are packed into one product, constants are folded. It is found again from what every
node keeps, in this order:

1. the weights it reads: a packed product reads those of all its parts;
2. module path and source line;
3. module path, where the module became one type of operation;
4. layout operations that match nothing became views;
5. what follows from positions and constants alone is computed on the host;
6. the rest is part of what its nearest neighbour became that is no product with a weight: what
   reads it (a product of queries and keys is part of the attention), else what it reads
   (``silu(gate) * up`` is part of the activation).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from codegen.errors import Problem
from codegen.report.counterparts import LAYOUT, base_name, counterpart, is_host
from codegen.report.engines import HOST, engine_of, slowest
from codegen.report.evidence import Evidence
from codegen.report.lowered import Placed, op_type, placed
from codegen.report.operation import Operation
from codegen.report.verdict import Fate, joined
from codegen.targets.atb.module import AtbModule

_TABLES = "model input or constant: the host computes it"


def fates(evidence: Evidence) -> dict[str, Fate]:
    """What each operation became, by its name."""
    if evidence.atb is None:
        return _uncompiled(evidence)
    return _Match(evidence.operations, evidence.atb).run()


# -- compiled -----------------------------------------------------------------------------------


class _Match:
    def __init__(self, operations: Sequence[Operation], atb: AtbModule) -> None:
        self.operations = operations
        self.by_module: dict[str, list[Placed]] = {}
        self.by_weight: dict[str, list[Placed]] = {}
        for part in placed(atb):
            self.by_module.setdefault(part.module, []).append(part)
            for weight in part.weights:
                self.by_weight.setdefault(weight, []).append(part)
        self.by_name = {operation.name: operation for operation in operations}
        self.users: dict[str, list[str]] = {}
        for operation in operations:
            for read in operation.reads:
                self.users.setdefault(read, []).append(operation.name)
        self.fates: dict[str, Fate] = {}
        self.on_host = _host_only(operations)

    def run(self) -> dict[str, Fate]:
        rest: list[Operation] = []
        for operation in self.operations:
            parts = self._parts(operation)
            if parts:
                self.fates[operation.name] = _fate(parts)
            elif base_name(operation.type) in LAYOUT:
                self.fates[operation.name] = Fate((), (), HOST, how="a view, or nothing at all")
            elif operation.name in self.on_host:
                self.fates[operation.name] = Fate((), (), HOST, how=_TABLES)
            else:
                rest.append(operation)
        for operation in rest:
            self.fates[operation.name] = self._absorbed(operation)
        return {operation.name: self.fates[operation.name] for operation in self.operations}

    def _parts(self, operation: Operation) -> list[Placed]:
        here = self.by_module.get(operation.module, [])
        found = [part for name in operation.weights for part in self.by_weight.get(name, [])]
        own = [part for part in found if part in here]
        same_line = [part for part in here if part.source == operation.source]
        found = own + [p for p in same_line if p not in own] if own else found or same_line
        found = _without_views(found)
        if found or base_name(operation.type) in LAYOUT or operation.name in self.on_host:
            return found
        kinds = {part.op_type for part in here if part.op_type}
        return _without_views(here) if len(kinds) == 1 else []

    def _absorbed(self, operation: Operation) -> Fate:
        """The fate of the nearest neighbour that is no product with a weight, readers first."""
        near = [*self._nearest(operation, self._readers), *self._nearest(operation, self._read)]
        if not near:
            return Fate((), (), HOST, how="folded into a constant")
        chosen = next((fate for fate in near if not _is_projection(fate)), near[-1])
        how = "part of a neighbour's operation"
        return Fate(chosen.names, chosen.types, chosen.engine, chosen.nodes, how=how)

    def _read(self, name: str) -> Iterable[str]:
        return self.by_name[name].reads

    def _readers(self, name: str) -> Iterable[str]:
        return self.users.get(name, [])

    def _nearest(self, operation: Operation, step: Callable[[str], Iterable[str]]) -> list[Fate]:
        """What became of the nearest operations in one direction that became something."""
        seen, front = {operation.name}, [operation.name]
        while front:
            near = [n for name in front for n in step(name) if n in self.by_name]
            front = [name for name in dict.fromkeys(near) if name not in seen]
            known = [self.fates[name] for name in front if name in self.fates]
            found = [fate for fate in known if fate.nodes]
            if found:
                return found
            seen.update(front)
        return []


def _is_projection(fate: Fate) -> bool:
    return any(
        op_type(node) == "Linear" and node.operand(1).recipe is not None for node in fate.nodes
    )


def _without_views(parts: list[Placed]) -> list[Placed]:
    return [part for part in parts if part.op_type]


def _fate(parts: list[Placed]) -> Fate:
    names, types, nodes = joined(parts)
    return Fate(names, types, slowest({engine_of(kind) for kind in types}), nodes)


def _host_only(operations: Sequence[Operation]) -> set[str]:
    """Operations whose results follow from positions and constants, not from weights."""
    known: set[str] = set()
    names = {operation.name for operation in operations}
    for operation in operations:
        made = [read for read in operation.reads if read in names]
        if not operation.weights and all(read in known for read in made):
            known.add(operation.name)
    return known


# -- not compiled -------------------------------------------------------------------------------


def _uncompiled(evidence: Evidence) -> dict[str, Fate]:
    operations = evidence.operations
    blamed: dict[str, Problem] = {}
    for problem in evidence.problems:
        for operation in _at(problem, operations):
            blamed.setdefault(operation.name, problem)
    static = _host_only(operations) if evidence.is_traced else set[str]()
    made: dict[str, Fate] = {}
    for operation in operations:
        problem = blamed.get(operation.name)
        if problem is not None:
            made[operation.name] = Fate((), (), HOST, reason=problem.reason)
        elif operation.name in static or is_host(operation.type):
            made[operation.name] = Fate((), (), HOST, how=_TABLES)
        else:
            made[operation.name] = _alone(operation, evidence.is_raised)
    return made


def _at(problem: Problem, operations: Sequence[Operation]) -> list[Operation]:
    """The operations that a problem is about: those at its place, as precisely as it is known."""
    if not problem.module and not problem.source:
        return []
    here = [o for o in operations if o.origin == problem.module]
    exact = [o for o in here if o.source == problem.source]
    line = [o for o in operations if o.source and o.source == problem.source]
    found = exact or line or here or _below(problem.module, operations)
    named = [o for o in found if problem.reason.startswith((f"{o.type} ", f"{o.type}:"))]
    return named or found


def _below(path: str, operations: Sequence[Operation]) -> list[Operation]:
    return [o for o in operations if path and o.origin.startswith(f"{path}.")]


def _alone(operation: Operation, is_raised: bool) -> Fate:
    kind = counterpart(operation.type)
    if kind is None and is_raised:
        return Fate((), (), HOST, how="part of something that was recognised")
    if kind is None:
        return Fate((), (), HOST, reason=f"ATB has no operation for {operation.type}")
    types = (kind,) if kind else ()
    return Fate((), types, engine_of(kind), how="by the operation alone; nothing was compiled")
