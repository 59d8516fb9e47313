"""The parts that the models of this folder share, as remote code shares them: a relative import.

Each model is written out in the way of code that ships with checkpoints: its own attention in
plain torch, its own mask, a cache whose length gives the positions.
"""

import math

import torch
from torch import nn
from transformers import DynamicCache, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast


class Config(PretrainedConfig):
    model_type = "remote_common"

    def __init__(
        self,
        vocab_size=61,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        max_position_embeddings=256,
        rms_norm_eps=1e-5,
        rope_theta=10000.0,
        tie_word_embeddings=False,
        **kwargs,
    ):
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.num_key_value_heads = num_key_value_heads
        self.intermediate_size = intermediate_size
        self.max_position_embeddings = max_position_embeddings
        self.rms_norm_eps = rms_norm_eps
        self.rope_theta = rope_theta
        super().__init__(tie_word_embeddings=tie_word_embeddings, **kwargs)


class RMSNorm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        x32 = x.float()
        x32 = x32 * torch.rsqrt(x32.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * x32.to(x.dtype)


def frequencies(width, theta):
    return 1.0 / theta ** (torch.arange(0, width, 2).float() / width)


def rotate_half(x):
    first, second = x.chunk(2, dim=-1)
    return torch.cat((-second, first), dim=-1)


def rotary(x, positions, theta):
    """Half rotation of ``[batch, heads, tokens, width]``."""
    inv_freq = frequencies(x.shape[-1], theta).to(x.device)
    angles = positions[:, None].float() * inv_freq
    angles = torch.cat((angles, angles), dim=-1)
    return x * angles.cos() + rotate_half(x) * angles.sin()


def repeat_kv(x, times):
    batch, heads, tokens, width = x.shape
    x = x[:, :, None].expand(batch, heads, times, tokens, width)
    return x.reshape(batch, heads * times, tokens, width)


def causal_mask(queries, keys, dtype, device):
    rows = torch.arange(keys - queries, keys, device=device)[:, None]
    columns = torch.arange(keys, device=device)[None, :]
    low = torch.full((), torch.finfo(dtype).min, dtype=dtype, device=device)
    return torch.where(columns <= rows, torch.zeros((), dtype=dtype, device=device), low)


class Attention(nn.Module):
    def __init__(self, config, layer_idx):
        super().__init__()
        self.config = config
        self.layer_idx = layer_idx
        self.heads = config.num_attention_heads
        self.kv_heads = config.num_key_value_heads
        self.head_dim = config.hidden_size // self.heads
        self.make_projections(config)
        self.o_proj = nn.Linear(self.heads * self.head_dim, config.hidden_size, bias=False)

    def make_projections(self, config):
        size, width = config.hidden_size, self.head_dim
        self.q_proj = nn.Linear(size, self.heads * width, bias=False)
        self.k_proj = nn.Linear(size, self.kv_heads * width, bias=False)
        self.v_proj = nn.Linear(size, self.kv_heads * width, bias=False)

    def project(self, x):
        """Queries, keys and values as ``[batch, tokens, heads, width]``."""
        batch, tokens, _ = x.shape
        q = self.q_proj(x).view(batch, tokens, self.heads, self.head_dim)
        k = self.k_proj(x).view(batch, tokens, self.kv_heads, self.head_dim)
        v = self.v_proj(x).view(batch, tokens, self.kv_heads, self.head_dim)
        return q, k, v

    def rotate(self, q, k, positions):
        theta = self.config.rope_theta
        return rotary(q, positions, theta), rotary(k, positions, theta)

    def mask(self, queries, keys, dtype, device):
        return causal_mask(queries, keys, dtype, device)

    def scores(self, q, k):
        return q @ k.transpose(-1, -2) / math.sqrt(self.head_dim)

    def forward(self, x, positions, cache):
        batch, tokens, _ = x.shape
        q, k, v = (part.transpose(1, 2) for part in self.project(x))
        q, k = self.rotate(q, k, positions)
        if cache is not None:
            k, v = cache.update(k, v, self.layer_idx)
        k, v = (repeat_kv(part, self.heads // self.kv_heads) for part in (k, v))
        scores = self.scores(q, k)
        scores = scores + self.mask(tokens, k.shape[2], x.dtype, x.device)
        weights = scores.float().softmax(-1).to(x.dtype)
        out = (weights @ v).transpose(1, 2).reshape(batch, tokens, -1)
        return self.o_proj(out)


class MLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        size, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = nn.Linear(size, inner, bias=False)
        self.up_proj = nn.Linear(size, inner, bias=False)
        self.down_proj = nn.Linear(inner, size, bias=False)

    def forward(self, x):
        return self.down_proj(nn.functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    attention_class = Attention
    mlp_class = MLP

    def __init__(self, config, layer_idx):
        super().__init__()
        self.layer_idx = layer_idx
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = self.attention_class(config, layer_idx)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = self.mlp_class(config)

    def forward(self, x, positions, cache):
        x = x + self.self_attn(self.input_layernorm(x), positions, cache)
        return x + self.mlp(self.post_attention_layernorm(x))


class CausalLM(PreTrainedModel, GenerationMixin):
    config_class = Config
    layer_class = Layer

    def __init__(self, config):
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(
            self.layer_class(config, i) for i in range(config.num_hidden_layers)
        )
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.embed_tokens

    def get_output_embeddings(self):
        return self.lm_head

    def embed(self, input_ids, positions):
        return self.embed_tokens(input_ids)

    def logits(self, hidden):
        return self.lm_head(hidden)

    def forward(self, input_ids, past_key_values=None, use_cache=None, return_dict=None, **kwargs):
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache()
        past = past_key_values.get_seq_length() if past_key_values is not None else 0
        positions = torch.arange(past, past + input_ids.shape[1], device=input_ids.device)
        hidden = self.embed(input_ids, positions)
        for layer in self.layers:
            hidden = layer(hidden, positions, past_key_values)
        logits = self.logits(self.norm(hidden))
        return CausalLMOutputWithPast(logits=logits, past_key_values=past_key_values)
