from __future__ import annotations

from pathlib import Path

import pytest

from codegen.targets.atb.emit_python import EmitOptions, emit
from codegen.targets.atb.lower import lower
from tests.codegen.targets.atb import emitting, stepping
from tests.codegen.targets.atb.handmade import llama_like, weights, with_cache
from tests.codegen.targets.atb.test_lower import VARIANTS

APIS = ("_libatb_torch", "torch_atb")


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("name", VARIANTS)
def test_emitted_code_on_the_host_equals_llm(name: str, api: str, tmp_path: Path) -> None:
    checkpoint = weights(llama_like(VARIANTS[name]))
    module = with_cache(VARIANTS[name])
    folder = emitting.write(emit(lower(module), EmitOptions(api=api)), tmp_path)
    wanted = stepping.trajectory(module, checkpoint)
    assert stepping.worst(wanted, emitting.trajectory(folder, checkpoint)) < 1e-5
