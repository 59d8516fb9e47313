"""How the ranks put the logits together that each has a part of."""

from __future__ import annotations

from codegen.targets.atb.cpp import text
from codegen.targets.atb.cpp.block import (
    LOGIT_ROWS,
    LOGITS_BY_TOKEN,
    LOGITS_OF_RANK,
    LOGITS_OF_RANKS,
    Input,
    Operation,
    View,
)
from codegen.targets.atb.cpp.params import Field

#: Tensors that exist only with several ranks.
INTERNAL = (LOGITS_OF_RANK, LOGITS_OF_RANKS, LOGITS_BY_TOKEN)
_ROWS = View(LOGIT_ROWS, (), ("oldShape.dims[0]", "oldShape.dims[1] * oldShape.dims[2]"))
VIEWS = (_ROWS,)


def operations(output: str, vocab_size: int) -> tuple[Operation, ...]:
    """Gathers the parts, brings them into the order of the vocabulary and cuts the filling off.

    Args:
        output: Enumerator of the complete logits.
        vocab_size: Tokens in the vocabulary; each rank has the same number of them, filled up.
    """
    return (
        Operation(
            "AddGatherLogits",
            text.comment("The logits of all ranks: [ranks, tokens, logits of a rank]."),
            "AllGatherParam",
            (
                Field("rank", "param.rank"),
                Field("rankSize", "param.worldSize"),
                Field("backend", "param.backend"),
                Field("rankTableFile", "param.rankTableFile"),
            ),
            (),
            (Input(LOGITS_OF_RANK),),
            (LOGITS_OF_RANKS,),
            uses_rank=True,
        ),
        Operation(
            "AddOrderLogits",
            text.comment("Tokens in front: [tokens, ranks, logits of a rank]."),
            "TransposeParam",
            (Field("perm", "{1, 0, 2}"),),
            (),
            (Input(LOGITS_OF_RANKS),),
            (LOGITS_BY_TOKEN,),
        ),
        Operation(
            "AddCutLogits",
            text.comment("Without the rows that fill up the last rank."),
            "SliceParam",
            (Field("offsets", "{0, 0}"), Field("size", f"{{-1, {vocab_size}}}")),
            (),
            (Input(LOGITS_BY_TOKEN, _ROWS),),
            (output,),
        ),
    )
