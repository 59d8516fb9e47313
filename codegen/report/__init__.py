"""The analysis report of ``-a``: what a model is made of, what of it ATB has, and what it costs.

`report_files` makes three files: the module tree as JSON, the support of every operation as CSV,
and a page for people. A model that cannot be compiled gets them too: that is what they are for.
"""

from codegen.report.files import report_files
from codegen.report.kinds import LayerCount, operation_counts
from codegen.report.memory import DefaultPerRank, PerRank
from codegen.report.scenario import Scenario
from codegen.report.skeleton import Weight

__all__ = [
    "DefaultPerRank",
    "LayerCount",
    "PerRank",
    "Scenario",
    "Weight",
    "operation_counts",
    "report_files",
]
