"""The reference page names every operation, operand and attribute."""

import pytest

from ir.op import REGISTRY
from ir.reference import dialect, reference


def test_every_operation_operand_and_attribute_is_there():
    page = reference("llm")
    ops = dialect("llm")
    assert [op.name for op in ops] == sorted(k for k in REGISTRY if k.startswith("llm."))
    for op in ops:
        section = page.split(f"## `{op.name}`\n")[1].split("\n## ")[0]
        for name in (*(o.name for o in op.operands), *op.attributes):
            assert f"| `{name}` |" in section
        assert op.__doc__
        assert op.__doc__.splitlines()[0].strip() in section


def test_one_section():
    page = reference("llm")
    assert (
        """\
## `llm.linear`

``y = x · Wᵀ + b``, or ``x · W + b`` where the checkpoint stores ``W`` as ``[in, out]``.

`y = llm.linear(x, weight, bias?)`

| operand |  | meaning |
| --- | --- | --- |
| `x` |  | ``[..., in_features]``. |
| `weight` |  | ``[out_features, in_features]``, or the transpose. |
| `bias` | optional | ``[out_features]``. |

| attribute | kind | default | meaning |
| --- | --- | --- | --- |
| `transpose_weight` | bool | `true` | The weight is stored ``[out, in]``. |
"""
        in page
    )
    assert "Writes operands in place" in page.split("## `llm.kv_append`")[1]


def test_rows_have_one_line_and_bars_are_escaped():
    section = reference("llm").split("## `llm.gated_activation`")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    assert rows
    assert all(row.endswith(" |") for row in rows)


def test_unknown_dialect():
    with pytest.raises(KeyError):
        reference("nope")
