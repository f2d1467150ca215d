"""Transformer layers of both towers: weights and per-token maths.

Tokens are packed: `[tokens, hidden]` over any number of sequences (leading batch axes work too). A layer does not know
which tokens see which; it hands its projected queries, keys and values to the `attend` function of the caller, who
knows sequences, masks and caches. Parameter names are those of the official checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import DecoderConfig, EncoderConfig

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(q `[..., heads, d]`, k `[..., kv_heads, d]`, v like k) -> `[..., heads, d]`, for one layer."""


class EncoderAttention(nn.Module):
    """Multi-head attention with biases on all four projections."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.heads = config.heads
        self.q_proj = nn.Linear(size, size)
        self.k_proj = nn.Linear(size, size)
        self.v_proj = nn.Linear(size, size)
        self.out_proj = nn.Linear(size, size)

    def forward(self, x: Tensor, attend: Attend) -> Tensor:
        q = self.q_proj(x).unflatten(-1, (self.heads, -1))
        k = self.k_proj(x).unflatten(-1, (self.heads, -1))
        v = self.v_proj(x).unflatten(-1, (self.heads, -1))
        mixed: Tensor = self.out_proj(attend(q, k, v).flatten(-2))
        return mixed


class EncoderLayer(nn.Module):
    """Pre-norm layer of the audio tower (LayerNorm, exact GELU)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.self_attn = EncoderAttention(config)
        self.self_attn_layer_norm = nn.LayerNorm(config.hidden_size)
        self.fc1 = nn.Linear(config.hidden_size, config.ffn_size)
        self.fc2 = nn.Linear(config.ffn_size, config.hidden_size)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size)

    def forward(self, x: Tensor, attend: Attend) -> Tensor:
        x = x + self.self_attn(self.self_attn_layer_norm(x), attend)
        mixed: Tensor = self.fc2(F.gelu(self.fc1(self.final_layer_norm(x))))
        x = x + mixed
        if x.dtype == torch.float16:  # the reference keeps fp16 activations off infinity
            limit = torch.finfo(torch.float16).max - 1000
            x = x.clamp(-limit, limit)
        return x


class RMSNorm(nn.Module):
    """Root-mean-square norm; statistics in float32, cast back before the weight is applied."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * wide.to(x.dtype)


def rope_tables(positions: Tensor, config: DecoderConfig, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """cos and sin `[..., 1, head_size]` of integer `positions` `[...]`; angles in float32, then cast.

    The sine's first half is negated, as `rotate` wants it. The three-section rotary embedding of the family gets three
    equal rows, so it is the ordinary one (Qwen3-Omni code).
    """
    half = torch.arange(0, config.head_size, 2, dtype=torch.int64, device=positions.device)
    inverse = 1.0 / (config.rope_theta ** (half.float() / config.head_size))
    angles = (positions.float()[..., None] * inverse)[..., None, :]
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((cos, cos), dim=-1).to(dtype), torch.cat((-sin, sin), dim=-1).to(dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding in the rotate-half layout; x `[..., heads, head_size]`, tables of `rope_tables`."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin)


class DecoderAttention(nn.Module):
    """Grouped-query attention without biases, with RMSNorm on each head's query and key."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        size, head = config.hidden_size, config.head_size
        self.head_size = head
        self.q_proj = nn.Linear(size, config.heads * head, bias=False)
        self.k_proj = nn.Linear(size, config.kv_heads * head, bias=False)
        self.v_proj = nn.Linear(size, config.kv_heads * head, bias=False)
        self.o_proj = nn.Linear(config.heads * head, size, bias=False)
        self.q_norm = RMSNorm(head, config.rms_norm_eps)
        self.k_norm = RMSNorm(head, config.rms_norm_eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, attend: Attend) -> Tensor:
        q = self.q_norm(self.q_proj(x).unflatten(-1, (-1, self.head_size)))
        k = self.k_norm(self.k_proj(x).unflatten(-1, (-1, self.head_size)))
        v = self.v_proj(x).unflatten(-1, (-1, self.head_size))
        mixed = attend(rotate(q, cos, sin), rotate(k, cos, sin), v)
        projected: Tensor = self.o_proj(mixed.flatten(-2))
        return projected


class SwiGLU(nn.Module):
    """Gated feed-forward: down(silu(gate(x)) * up(x))."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        size, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = nn.Linear(size, inner, bias=False)
        self.up_proj = nn.Linear(size, inner, bias=False)
        self.down_proj = nn.Linear(inner, size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        projected: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return projected


class DecoderLayer(nn.Module):
    """Pre-norm Qwen3 layer."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.self_attn = DecoderAttention(config)
        self.mlp = SwiGLU(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, attend: Attend) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, attend)
        mixed: Tensor = self.mlp(self.post_attention_layernorm(x))
        return x + mixed
