"""HuggingFace directory -> aten module -> llm module.

``hf.load`` reads a directory, ``trace.trace`` makes an aten module of it. The module's ``meta``:

- ``model_class``, ``model_type``, ``vocab_size``, ``hidden_size``, ``num_hidden_layers``,
  ``max_position_embeddings``: from the model and its configuration, where they exist;
- ``dtype``: element type of the weights (``bfloat16``), although all graph floats are float32;
- ``position_input``: there is an input ``position_ids``; else positions are computed in the graph;
- ``max_tokens``: longest sequence the trace covers, only if the code has such a limit;
- ``image_token_id``: only of vision-language models, whose language model it is: the token whose
  hidden states image features take the place of, before the first layer;
- ``tied``: ``(name, name that is used)`` of weights that are one tensor;
- ``attention``: the attention implementation that was traced: our own (``llm_codegen``) gives
  ``trace.attention`` nodes, ``eager`` and ``sdpa`` what the modelling code writes out.
"""
