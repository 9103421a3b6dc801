"""Seeded random weights for a Llama configuration; the same values, bit for bit, as tests/testing/random_weights.cc.

The definition (all integers are unsigned, 64 bits, wrapping):

    splitmix64(x):  x += 0x9E3779B97F4A7C15
                    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9
                    x = (x ^ (x >> 27)) * 0x94D049BB133111EB
                    return x ^ (x >> 31)
    stream(name, seed) = splitmix64(fnv1a64(name) ^ splitmix64(seed))
    bits(i)         = splitmix64(stream + i)                        i: row-major index within the whole tensor
    sum(i)          = the four 16-bit words of bits(i), added, less 131070      an exact integer, about normal, standard
                                                                                deviation 37837
    value(i)        = float32(sum(i) + offset) * scale              one float32 multiplication, rounded to nearest even
    scale           = float32(std / 37837)
    offset          = floor(mean * 37837 / std + 0.5)

A stored float16 or bfloat16 is value(i) rounded to nearest even. No step calls a mathematical library beyond sqrt, which
IEEE 754 rounds correctly, so languages and machines agree.
"""

import json
import math
import pathlib
from dataclasses import dataclass

import numpy as np

SUM_STD = 37837.0
SUM_MEAN = 131070
SAFETENSORS_DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
NUMPY_ERRORS = {"over": "ignore"}  # 64-bit products wrap on purpose


@dataclass(frozen=True)
class RandomTensor:
    name: str
    shape: tuple
    mean: float
    std: float


def splitmix64(x):
    with np.errstate(**NUMPY_ERRORS):
        x = np.asarray(x, dtype=np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def fnv1a64(text):
    digest = 0xCBF29CE484222325
    for byte in text.encode():
        digest = ((digest ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return np.uint64(digest)


def random_bits(name, seed, count):
    stream = splitmix64(fnv1a64(name) ^ splitmix64(seed))
    with np.errstate(**NUMPY_ERRORS):
        return splitmix64(stream + np.arange(count, dtype=np.uint64))


def random_values(tensor, seed):
    """float32, in the tensor's shape."""
    words = random_bits(tensor.name, seed, math.prod(tensor.shape)).view(np.uint16).reshape(-1, 4)
    sums = words.sum(axis=1, dtype=np.int32) - np.int32(SUM_MEAN)
    offset = np.int32(math.floor(tensor.mean * SUM_STD / tensor.std + 0.5))
    scale = np.float32(tensor.std / SUM_STD)
    return ((sums + offset).astype(np.float32) * scale).reshape(tensor.shape)


def random_ids(name, seed, count, vocab_size):
    return [int(x) for x in random_bits(name, seed, count) % np.uint64(vocab_size)]


def to_storage(values, storage):
    """The bit pattern to store: uint32, or uint16 after rounding to nearest even."""
    if storage == "float32":
        return values.view(np.uint32)
    if storage == "float16":
        return values.astype(np.float16).view(np.uint16)
    bits = values.view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype(np.uint16)


def llama_tensors(config, tied_head="none"):
    """Every tensor of the checkpoint, in the order of the file; std keeps activations near 1 and logits near 2.5.

    tied_head says what is stored of a head that the configuration ties: none of it, its own weight, or lm_head.weight alone.
    """
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    heads = config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    head_dim = config.get("head_dim") or hidden // heads
    tied = bool(config.get("tie_word_embeddings"))
    head_std = 2.5 / math.sqrt(hidden)

    embedding = "lm_head.weight" if tied and tied_head == "alone" else "model.embed_tokens.weight"
    tensors = [RandomTensor(embedding, (config["vocab_size"], hidden), 0.0, head_std if tied else 1.0)]

    def linear(name, rows, columns, bias):
        tensors.append(RandomTensor(name + ".weight", (rows, columns), 0.0, 1.5 / math.sqrt(columns)))
        if bias:
            tensors.append(RandomTensor(name + ".bias", (rows,), 0.0, 0.25))

    def norm(name):
        tensors.append(RandomTensor(name + ".weight", (hidden,), 1.0, 0.125))

    attention_bias, mlp_bias = bool(config.get("attention_bias")), bool(config.get("mlp_bias"))
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        norm(prefix + "input_layernorm")
        linear(prefix + "self_attn.q_proj", heads * head_dim, hidden, attention_bias)
        linear(prefix + "self_attn.k_proj", kv_heads * head_dim, hidden, attention_bias)
        linear(prefix + "self_attn.v_proj", kv_heads * head_dim, hidden, attention_bias)
        linear(prefix + "self_attn.o_proj", hidden, heads * head_dim, attention_bias)
        norm(prefix + "post_attention_layernorm")
        linear(prefix + "mlp.gate_proj", inner, hidden, mlp_bias)
        linear(prefix + "mlp.up_proj", inner, hidden, mlp_bias)
        linear(prefix + "mlp.down_proj", hidden, inner, mlp_bias)
    norm("model.norm")
    if not tied or tied_head == "own":
        tensors.append(RandomTensor("lm_head.weight", (config["vocab_size"], hidden), 0.0, head_std))
    return tensors


def write_checkpoint(directory, config, seed, storage, tied_head="none"):
    """config.json and model.safetensors, as transformers reads them."""
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config, indent=1))
    tensors = [(tensor.name, to_storage(random_values(tensor, seed), storage)) for tensor in llama_tensors(config, tied_head)]
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, bits in tensors:
        offsets = [end, end := end + bits.nbytes]
        header[name] = {"dtype": SAFETENSORS_DTYPES[storage], "shape": bits.shape, "data_offsets": offsets}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the data starts aligned
    with open(directory / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, bits in tensors:
            file.write(bits.tobytes())
