"""Tensor parallelism: which part of every tensor a rank has.

``layout`` says what such a part is, ``rules`` how operations relate the layouts of what they read
and write, ``solve`` finds a layout for every tensor of a graph and ``plan`` does so for a module.
The graphs themselves are not changed: printers look layouts up.
"""

from codegen.targets.atb.sharding.layout import Layout, Part, Unit
from codegen.targets.atb.sharding.plan import ShardPlan, shard
from codegen.targets.atb.sharding.solve import GraphShards

__all__ = ["GraphShards", "Layout", "Part", "ShardPlan", "Unit", "shard"]
