"""A compact BLOOM in PyTorch: the maths and the tensor names of transformers' BloomForCausalLM, without dropout."""
import math

import torch
from torch import nn
from torch.nn import functional as F


def alibi_slopes(n_head):
    """ALiBi's slope of each head; past the nearest power of two, every other slope of twice as many heads."""
    near = 2 ** math.floor(math.log2(n_head))
    base = 2.0 ** -(2.0 ** -(math.log2(near) - 3))
    slopes = [base ** i for i in range(1, near + 1)]
    if near != n_head:
        base = 2.0 ** -(2.0 ** -(math.log2(2 * near) - 3))
        slopes += [base ** i for i in range(1, 2 * (n_head - near), 2)]
    return torch.tensor(slopes)


class Attention(nn.Module):
    def __init__(self, hidden, n_head):
        super().__init__()
        self.n_head, self.head_dim = n_head, hidden // n_head
        self.query_key_value = nn.Linear(hidden, 3 * hidden)
        self.dense = nn.Linear(hidden, hidden)

    def forward(self, x, bias):
        b, t, c = x.shape
        q, k, v = self.query_key_value(x).view(b, t, self.n_head, 3, self.head_dim).permute(3, 0, 2, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.dense(y.transpose(1, 2).reshape(b, t, c))


class Mlp(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.dense_h_to_4h = nn.Linear(hidden, 4 * hidden)
        self.dense_4h_to_h = nn.Linear(4 * hidden, hidden)

    def forward(self, x):
        return self.dense_4h_to_h(F.gelu(self.dense_h_to_4h(x), approximate="tanh"))


class Block(nn.Module):
    def __init__(self, hidden, n_head, eps):
        super().__init__()
        self.input_layernorm = nn.LayerNorm(hidden, eps)
        self.self_attention = Attention(hidden, n_head)
        self.post_attention_layernorm = nn.LayerNorm(hidden, eps)
        self.mlp = Mlp(hidden)

    def forward(self, x, bias):
        x = x + self.self_attention(self.input_layernorm(x), bias)
        return x + self.mlp(self.post_attention_layernorm(x))


class Bloom(nn.Module):
    """Returns the hidden states after ln_f; logits are hidden @ word_embeddings.weight.T."""

    def __init__(self, vocab, hidden=192, layers=6, n_head=6, eps=1e-5):
        super().__init__()
        self.word_embeddings = nn.Embedding(vocab, hidden)
        self.word_embeddings_layernorm = nn.LayerNorm(hidden, eps)
        self.h = nn.ModuleList(Block(hidden, n_head, eps) for _ in range(layers))
        self.ln_f = nn.LayerNorm(hidden, eps)
        self.register_buffer("slopes", alibi_slopes(n_head), persistent=False)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                deep = name.endswith(("self_attention.dense.weight", "dense_4h_to_h.weight"))
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * layers) if deep else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(p)

    def bias(self, t):
        place = torch.arange(t)
        far = (place[None, :] - place[:, None]).float()
        return (self.slopes[:, None, None] * far).masked_fill(far > 0, float("-inf"))[None]

    def forward(self, ids, bias=None):
        bias = self.bias(ids.shape[1]) if bias is None else bias
        x = self.word_embeddings_layernorm(self.word_embeddings(ids))
        for block in self.h:
            x = block(x, bias)
        return self.ln_f(x)

    def logits(self, ids):
        return F.linear(self(ids), self.word_embeddings.weight)


class SumLoss(torch.autograd.Function):
    """Summed cross entropy of hidden @ weight.T, by chunks, so that the logits never exist whole."""

    CHUNK = 512

    @staticmethod
    def forward(ctx, hidden, weight, target):
        d_hidden, d_weight = torch.empty_like(hidden), torch.zeros_like(weight)
        total = hidden.new_zeros(())
        for i in range(0, len(hidden), SumLoss.CHUNK):
            x, y = hidden[i:i + SumLoss.CHUNK], target[i:i + SumLoss.CHUNK]
            z = torch.mm(x, weight.t())
            row = torch.arange(len(x))
            hit = z[row, y]
            norm = torch.logsumexp(z, 1)
            total += (norm - hit).sum()
            z.sub_(norm[:, None]).exp_()
            z[row, y] -= 1
            torch.mm(z, weight, out=d_hidden[i:i + SumLoss.CHUNK])
            d_weight.addmm_(z.t(), x)
        ctx.save_for_backward(d_hidden, d_weight)
        return total

    @staticmethod
    def backward(ctx, g):
        d_hidden, d_weight = ctx.saved_tensors
        return d_hidden * g, d_weight * g, None
