"""Passes: one file each. Importing this package makes all of them known by name."""

from ir.passes.base import PASSES, Condition, Pass, PassRecord, PassResult, run_passes
from ir.passes.cache_kv import CacheKv
from ir.passes.fold_layers import FoldLayers
from ir.passes.inline_calls import InlineCalls
from ir.passes.pack_linears import PackLinears
from ir.passes.pipeline import parse_pipeline, print_pipeline
from ir.passes.remove_dead import RemoveDead
from ir.passes.simplify_views import SimplifyViews

__all__ = [
    "PASSES",
    "CacheKv",
    "Condition",
    "FoldLayers",
    "InlineCalls",
    "PackLinears",
    "Pass",
    "PassRecord",
    "PassResult",
    "RemoveDead",
    "SimplifyViews",
    "parse_pipeline",
    "print_pipeline",
    "run_passes",
]
