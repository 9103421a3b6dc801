"""Writes a Hugging Face Llama directory as the GGUF file that llama.cpp reads.

    gguf_checkpoint.py GGUF_PACKAGE MODEL_DIR DTYPE OUT_FILE

Runs in the reference environment. GGUF_PACKAGE is the folder of llama.cpp's own `gguf` Python package. DTYPE (bfloat16 or float32) is
what the matrices are stored in. The vocabulary has placeholders for texts: the benchmark speaks in token ids.
"""

import math
import os
import pathlib
import sys

import torch
from safetensors import safe_open
from transformers import LlamaConfig

LAYER_NAMES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}  # fmt: skip
NAMES = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}


def gguf_name(name):
    if name in NAMES:
        return NAMES[name]
    layer, _, rest = name.removeprefix("model.layers.").partition(".")
    module, _, kind = rest.rpartition(".")
    if module not in LAYER_NAMES or kind != "weight":
        raise SystemExit(f"{name}: no tensor that llama.cpp's Llama has")
    return f"blk.{layer}.{LAYER_NAMES[module]}.weight"


def interleave_heads(weight, num_heads):
    """[num_heads · head_dim, hidden_size]: rotary pairs from (i, i + head_dim / 2), as Hugging Face has them, to neighbours, as llama.cpp does."""
    rows, columns = weight.shape
    return weight.reshape(num_heads, 2, rows // num_heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def rope_divisors(config):
    """What each rotary frequency is divided by, [head_dim / 2]; None for the plain ones."""
    rope = config.rope_parameters
    if rope["rope_type"] == "default":
        return None
    if rope["rope_type"] != "llama3":
        raise SystemExit(f"rope_type {rope['rope_type']}: only default and llama3 are written")
    low, high, original = rope["low_freq_factor"], rope["high_freq_factor"], rope["original_max_position_embeddings"]
    divisors = []
    for i in range(0, config.head_dim, 2):
        wavelength = 2 * math.pi * rope["rope_theta"] ** (i / config.head_dim)
        smooth = min(1.0, max(0.0, (original / wavelength - low) / (high - low)))
        divisors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return torch.tensor(divisors, dtype=torch.float32)


def write_header(writer, config):
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    # Of all kinds of vocabulary the one that has no end of sequence unless told: nothing may end an answer early, and
    # ignore_eos would not let the model choose that token.
    writer.add_tokenizer_model("rwkv")
    writer.add_token_list([f"t{i}" for i in range(config.vocab_size)])
    writer.add_token_types([1] * config.vocab_size)


def tensors(model_dir):
    for path in sorted(model_dir.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                yield name, file.get_tensor(name)


def convert(gguf, model_dir, dtype, out_file):
    config = LlamaConfig.from_pretrained(model_dir)
    types = {"bfloat16": (torch.bfloat16, gguf.GGMLQuantizationType.BF16), "float32": (torch.float32, gguf.GGMLQuantizationType.F32)}
    torch_type, gguf_type = types[dtype]
    writer = gguf.GGUFWriter(out_file, "llama")
    write_header(writer, config)
    if (divisors := rope_divisors(config)) is not None:
        writer.add_tensor("rope_freqs.weight", divisors.numpy())
    for name, tensor in tensors(model_dir):
        if "self_attn.q_proj" in name:
            tensor = interleave_heads(tensor, config.num_attention_heads)
        elif "self_attn.k_proj" in name:
            tensor = interleave_heads(tensor, config.num_key_value_heads)
        if tensor.dim() == 1:  # norms stay float32, as llama.cpp's own converter leaves them
            writer.add_tensor(gguf_name(name), tensor.float().numpy())
            continue
        data = tensor.to(torch_type).contiguous()
        data = data.view(torch.uint16) if torch_type == torch.bfloat16 else data
        writer.add_tensor(gguf_name(name), data.numpy(), raw_dtype=gguf_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    package, model_dir, dtype, out_file = sys.argv[1:]
    sys.path.insert(0, package)
    import gguf

    part = f"{out_file}.part"
    convert(gguf, pathlib.Path(model_dir), dtype, part)
    os.replace(part, out_file)


if __name__ == "__main__":
    main()
