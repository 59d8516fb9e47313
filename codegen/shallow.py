"""A twin with few layers of a model that is too large to run here.

It has one layer of each kind at full width, so every operation of the large model's code runs with
its real parameters. That the large model's code is the same code is checked byte for byte.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from codegen.errors import BadInputError
from codegen.frontend.hf import Source, load, load_config
from codegen.manifest import Manifest
from codegen.pipeline import CONFIG, Stages, emit, run
from codegen.request import PYTHON_APIS, PythonApi, Request, Target
from codegen.subject import count_parameters
from codegen.targets.atb.module import AtbModule

_LAYERS = "num_hidden_layers"
#: So that one layer's output is another one's input.
_FEWEST = 2


@dataclass(frozen=True)
class Shallow:
    """How the twin of a model is made.

    Attributes:
        source: The large model.
        record: Manifest of its generated code.
        atb: Its ATB graphs.
        count: Its parameters.
        limit: How many may be run.
    """

    source: Source
    record: Manifest
    atb: AtbModule
    count: int
    limit: int

    @property
    def layers(self) -> int:
        """Layers up to the first of the last kind."""
        calls = self.atb.functions["prefill"].find("func.call")
        kinds = [str(call.attrs["callee"]) for call in calls if call.attrs["scope"]]
        return max(_FEWEST, *(1 + kinds.index(kind) for kind in kinds))

    @property
    def note(self) -> str:
        """What the reader of the verification must know."""
        return (
            f"{self.count:,} parameters are too many to run here (limit {self.limit:,}): a twin "
            f"with {self.layers} layers ran; the code is what is generated for the whole model"
        )

    @contextmanager
    def generated(self, out: Path) -> Iterator[tuple[Path, Path]]:
        """The twin's generated code and its model directory, while the context lasts.

        Args:
            out: Generated code of the large model.

        Raises:
            BadInputError: There is no smaller twin, or `out` is not what is generated.
        """
        config = load_config(self.source)
        text = config.get_text_config()
        whole = getattr(text, _LAYERS, None)
        if self.source.trust_remote_code or not isinstance(whole, int) or self.layers >= whole:
            raise BadInputError(
                f"{self.source.path}: {self.count:,} parameters are too many to run here; the "
                f"limit is {self.limit:,} (--max-parameters)"
            )
        request = self._request(self.source.path)
        self._check_unchanged(out, request)
        body = dict(self.source.config)
        # Of a vision-language model only the language model is made smaller.
        inner: dict[str, Any] = body if text is config else dict(body.get("text_config", {}))
        inner |= {
            key: value[: self.layers]
            for key, value in inner.items()
            if isinstance(value, list) and len(value) == whole
        }
        inner[text.attribute_map.get(_LAYERS, _LAYERS)] = self.layers
        if inner is not body:
            body["text_config"] = inner
        with TemporaryDirectory() as made:
            twin = Path(made)
            (twin / CONFIG).write_text(json.dumps(body), encoding="utf-8")
            count = count_parameters(load(twin))
            if count > self.limit:
                raise BadInputError(
                    f"{self.source.path}: even {self.layers} of its layers have {count:,} "
                    f"parameters, too many to run here (limit {self.limit:,}, --max-parameters)"
                )
            run(self._request(twin), twin / "out")
            yield twin / "out", twin

    def _request(self, path: Path) -> Request:
        """The request that the code was generated for, of a model directory."""
        api = cast("PythonApi", self.record.options.get("python_api", PYTHON_APIS[0]))
        return Request(path, cast("Target", self.record.target), python_api=api)

    def _check_unchanged(self, out: Path, request: Request) -> None:
        fresh = emit(self.source, self.atb, request, Stages())
        for path in fresh.main:
            place = out / path
            if not place.is_file() or place.read_bytes() != fresh.files[path].encode():
                raise BadInputError(
                    f"{place} is not what is generated for this model, and {self.count:,} "
                    f"parameters are too many to run it (limit {self.limit:,}, --max-parameters)"
                )
