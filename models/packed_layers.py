"""The layers of both towers over packed linears: the maths of `layers`, with fewer and larger steps.

Queries, keys and values come out of one product, gate and up out of another; the norms and rotations of query and key
heads run together. Made from a loaded layer, called like it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import Attend, DecoderLayer, EncoderLayer, RMSNorm, rotate
from .packed_linear import Pack


class PackedDecoderLayer(nn.Module):
    """`DecoderLayer` in activations of `dtype`."""

    def __init__(self, layer: DecoderLayer, pack: Pack, dtype: torch.dtype) -> None:
        super().__init__()
        attention, mlp = layer.self_attn, layer.mlp
        self._head_size = attention.head_size
        self._heads = attention.q_proj.out_features // attention.head_size
        self._kv_heads = attention.k_proj.out_features // attention.head_size
        self._eps = attention.q_norm.eps
        self._qkv = pack((attention.q_proj, attention.k_proj, attention.v_proj))
        self._out = pack((attention.o_proj,))
        self._gate_up = pack((mlp.gate_proj, mlp.up_proj))
        self._down = pack((mlp.down_proj,))
        norms = [attention.q_norm.weight] * self._heads + [attention.k_norm.weight] * self._kv_heads
        self._head_norms = torch.stack([weight.detach() for weight in norms]).to(dtype)
        self._before_attention = _Norm(layer.input_layernorm, dtype)
        self._before_mlp = _Norm(layer.post_attention_layernorm, dtype)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, attend: Attend) -> Tensor:
        heads = self._qkv(self._before_attention(x)).unflatten(-1, (-1, self._head_size))
        qk, v = heads.split((self._heads + self._kv_heads, self._kv_heads), dim=-2)
        qk = F.rms_norm(qk, (self._head_size,), None, self._eps) * self._head_norms
        q, k = rotate(qk, cos, sin).split((self._heads, self._kv_heads), dim=-2)
        x = x + self._out(attend(q, k, v).flatten(-2))
        gate, up = self._gate_up(self._before_mlp(x)).chunk(2, dim=-1)
        mixed: Tensor = self._down(F.silu(gate).mul_(up))
        return x + mixed


class PackedEncoderLayer(nn.Module):
    """`EncoderLayer` in activations of `dtype`."""

    def __init__(self, layer: EncoderLayer, pack: Pack, dtype: torch.dtype) -> None:
        super().__init__()
        attention = layer.self_attn
        self._heads = attention.heads
        self._qkv = pack((attention.q_proj, attention.k_proj, attention.v_proj))
        self._out = pack((attention.out_proj,))
        self._fc1 = pack((layer.fc1,))
        self._fc2 = pack((layer.fc2,))
        self._before_attention = layer.self_attn_layer_norm.to(dtype)
        self._before_mlp = layer.final_layer_norm.to(dtype)

    def forward(self, x: Tensor, attend: Attend) -> Tensor:
        heads = self._qkv(self._before_attention(x)).unflatten(-1, (3 * self._heads, -1))
        q, k, v = heads.chunk(3, dim=-2)
        x = x + self._out(attend(q, k, v).flatten(-2))
        mixed: Tensor = self._fc2(F.gelu(self._fc1(self._before_mlp(x))))
        return x + mixed


class _Norm(nn.Module):
    """RMSNorm through torch's own kernel; its statistics are float32 too."""

    def __init__(self, norm: RMSNorm, dtype: torch.dtype) -> None:
        super().__init__()
        self._weight = norm.weight.detach().to(dtype, copy=True)
        self._eps = norm.eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self._weight.shape, self._weight, self._eps)
