"""The ATB dialect: operations, contract, executable semantics, spelling in the Python APIs.

Importing it declares all ``atb.*`` operations. ``limits`` checks whole graphs, ``spelling`` prints
attributes for the Python APIs and reads them back.
"""

from codegen.targets.atb.ops.activation import Activation
from codegen.targets.atb.ops.attention import SelfAttention
from codegen.targets.atb.ops.base import VARIANTS, AtbOp, Param, Soc, Tensor
from codegen.targets.atb.ops.elewise import Elewise
from codegen.targets.atb.ops.limits import check_contracts, check_graph_limits
from codegen.targets.atb.ops.linear import Linear
from codegen.targets.atb.ops.norm import LayerNorm, PostRmsNorm, PreRmsNorm, RmsNorm
from codegen.targets.atb.ops.paged import PagedAttention, ReshapeAndCache
from codegen.targets.atb.ops.rope import Rope
from codegen.targets.atb.ops.shape import (
    Concat,
    Gather,
    Repeat,
    Reshape,
    Slice,
    Softmax,
    Split,
    Transpose,
)
from codegen.targets.atb.ops.spelling import (
    SpellingError,
    from_json,
    from_struct,
    json_params,
    torch_atb_struct,
)

__all__ = [
    "VARIANTS",
    "Activation",
    "AtbOp",
    "Concat",
    "Elewise",
    "Gather",
    "LayerNorm",
    "Linear",
    "PagedAttention",
    "Param",
    "PostRmsNorm",
    "PreRmsNorm",
    "Repeat",
    "Reshape",
    "ReshapeAndCache",
    "RmsNorm",
    "Rope",
    "SelfAttention",
    "Slice",
    "Soc",
    "Softmax",
    "SpellingError",
    "Split",
    "Tensor",
    "Transpose",
    "check_contracts",
    "check_graph_limits",
    "from_json",
    "from_struct",
    "json_params",
    "torch_atb_struct",
]
