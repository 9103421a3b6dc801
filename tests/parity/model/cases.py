"""The parity cases: one Llama configuration each, small enough that its reference values are a few kilobytes.

Head counts are multiples of 4 (or a single KV head), so that every case but the ones that say otherwise splits over 1, 2
and 4 ranks. Prompts and generated tokens stay within the context that the configuration promises, dynamic RoPE and
the cases that say otherwise aside.
"""

import numpy as np

from random_checkpoint import fnv1a64

BASE = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "hidden_size": 64,
    "intermediate_size": 172,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "vocab_size": 128,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

SHORT = [1, 7, 33]
LONG = [5, 97]

DYNAMIC_COMMENT = (
    "transformers keeps one inv_freq in the module and replaces it as a side effect of forward. A forward whose largest "
    "position + 1 (L) exceeds every length seen so far computes base' = theta * (factor * L / max_position_embeddings - "
    "(factor - 1)) ** (head_dim / (head_dim - 2)) and rotates all tokens of that forward with it, the first token of the "
    "prompt included; up to max_position_embeddings nothing changes. It goes back to the plain frequencies only when a "
    "forward comes with L < max_position_embeddings, so with L between the two it uses those of an earlier, longer, "
    "unrelated prompt: the logits depend on history. These values come from a freshly loaded model for every prompt. "
    "generate() with a cache leaves the cached keys as they were rotated: prompt tokens with the base of the prompt's "
    "length, the token generated at position p with the base of length p + 1 (greedy_ids). Running the whole sequence "
    "again for every token rotates all keys with the newest base instead (greedy_ids_uncached)."
)


def case(name, comment="", storage="float32", num_shards=1, prompts=SHORT, drop=(), tied_head="none", **changes):
    config = {**BASE, **changes}
    for key in drop:
        del config[key]
    config["dtype" if "rope_parameters" in config else "torch_dtype"] = storage
    return {
        "name": name,
        "comment": comment,
        "storage": storage,
        "num_shards": num_shards,
        "tied_head": tied_head,
        "prompt_lengths": prompts,
        "config": config,
    }


def heads(attention, key_value, head_dim, **changes):
    return dict(
        hidden_size=attention * head_dim,
        num_attention_heads=attention,
        num_key_value_heads=key_value,
        head_dim=head_dim,
        **changes,
    )


def old_rope(**scaling):
    """Configurations written before transformers 5: rope_scaling, with rope_theta beside it."""
    return dict(rope_scaling=scaling)


def new_rope(**parameters):
    """Configurations written by transformers 5: rope_parameters, with rope_theta inside."""
    return dict(rope_parameters=parameters, drop=["rope_theta"])


def attention_cases():
    yield case("multi_head", num_key_value_heads=8)
    yield case("group_of_2_head_dim_16", **heads(8, 4, 16))
    yield case("group_of_4_head_dim_8", **heads(16, 4, 8))
    yield case("group_of_2_two_kv_heads", "Fewer KV heads than 4 ranks.", **heads(4, 2, 16))
    yield case("group_of_8_two_kv_heads", "Fewer KV heads than 4 ranks.", **heads(16, 2, 8))
    yield case("one_kv_head", "Multi-query attention: fewer KV heads than ranks.", **heads(8, 1, 16))
    yield case("head_dim_larger_than_hidden_over_heads", num_attention_heads=4, num_key_value_heads=4, head_dim=32)
    yield case("head_dim_smaller_than_hidden_over_heads", hidden_size=96, num_attention_heads=4,
               num_key_value_heads=2, head_dim=16)
    yield case("head_dim_64", **heads(4, 2, 64, intermediate_size=344))
    yield case("head_dim_128", **heads(4, 2, 128, intermediate_size=688))
    yield case("head_dim_128_bfloat16", storage="bfloat16", **heads(4, 4, 128, intermediate_size=688))
    yield case("eight_kv_heads_head_dim_64", "Divides over 8 ranks.", **heads(16, 8, 64, intermediate_size=512,
               vocab_size=96))
    yield case("attention_bias", attention_bias=True)
    yield case("attention_bias_one_kv_head", attention_bias=True, **heads(4, 1, 16))
    yield case("mlp_bias", mlp_bias=True)
    yield case("both_biases_tied_bfloat16", storage="bfloat16", attention_bias=True, mlp_bias=True,
               tie_word_embeddings=True)


def shape_cases():
    yield case("tied_embeddings", tie_word_embeddings=True)
    yield case("tied_with_a_head_of_its_own", "Both are stored and differ: transformers does not tie them.",
               tie_word_embeddings=True, tied_head="own")
    yield case("tied_with_the_head_alone", "lm_head.weight is stored and the embedding is not: it is both.",
               tie_word_embeddings=True, tied_head="alone")
    yield case("vocab_131", "A prime vocabulary: shards of unequal size.", vocab_size=131)
    yield case("vocab_130_tied", tie_word_embeddings=True, vocab_size=130)
    yield case("intermediate_174", "Two ranks divide it, four do not.", intermediate_size=174)
    yield case("rms_norm_eps_large", "Large enough to be seen in the logits.", rms_norm_eps=0.05)
    yield case("rms_norm_eps_1e_6", rms_norm_eps=1e-6)
    yield case("six_layers", num_hidden_layers=6)
    yield case("six_layers_bfloat16", storage="bfloat16", num_hidden_layers=6)
    yield case("prompt_of_300", "Several KV blocks and prefill chunks.", prompts=[300], vocab_size=64,
               max_position_embeddings=512)
    yield case("only_required_fields",
               "KV heads, head_dim, context 2048, eps 1e-6, theta 10000 and an untied head are defaults.",
               drop=["num_key_value_heads", "max_position_embeddings", "rms_norm_eps", "rope_theta",
                     "tie_word_embeddings", "hidden_act", "bos_token_id", "eos_token_id"])
    yield case("null_fields", "null means the same as absent.", num_key_value_heads=None, head_dim=None,
               rope_scaling=None, pretraining_tp=1, pad_token_id=None)


def storage_cases():
    yield case("float16", storage="float16")
    yield case("float16_attention_bias_head_dim_64", storage="float16", attention_bias=True,
               **heads(4, 2, 64, intermediate_size=344))
    yield case("bfloat16", storage="bfloat16")
    yield case("bfloat16_head_dim_64", storage="bfloat16", **heads(4, 2, 64, intermediate_size=344))
    yield case("float32_sharded", num_shards=3)
    yield case("bfloat16_sharded_tied", storage="bfloat16", num_shards=4, tie_word_embeddings=True)


def plain_rope_cases():
    yield case("rope_theta_500000_old_spelling", rope_theta=500000.0, **heads(4, 2, 16))
    yield case("rope_theta_500000_new_spelling", **heads(4, 2, 16), **new_rope(rope_type="default", rope_theta=500000.0))
    yield case("rope_theta_missing_new_spelling", "rope_theta defaults to 10000.", **heads(4, 2, 16),
               **new_rope(rope_type="default"))
    yield case("rope_scaling_type_default", "What some converters write.", **old_rope(type="default"))
    yield case("rope_theta_inside_wins", "rope_theta in both places: the inner one counts.",
               rope_parameters=dict(rope_type="default", rope_theta=300.0), **heads(4, 2, 16))
    yield case("linear_old_spelling", prompts=LONG, **old_rope(type="linear", factor=4.0), **heads(4, 2, 16))
    yield case("linear_type_and_rope_type", "Both names of the type: rope_type counts.", prompts=LONG,
               **old_rope(type="default", rope_type="linear", factor=4.0), **heads(4, 2, 16))
    yield case("linear_beyond_the_stored_context", "The context that was trained is stored: the factor extends it.",
               prompts=LONG, max_position_embeddings=32, **old_rope(type="linear", factor=4.0), **heads(4, 2, 16))
    yield case("linear_new_spelling", prompts=LONG, **heads(4, 2, 16),
               **new_rope(rope_type="linear", factor=2.5, rope_theta=20000.0))


def dynamic_rope_cases():
    for name, rope in (
        ("dynamic_old_spelling", dict(rope_theta=10000.0, **old_rope(type="dynamic", factor=2.0))),
        ("dynamic_new_spelling", new_rope(rope_type="dynamic", factor=4.0, rope_theta=10000.0)),
    ):
        yield case(name, DYNAMIC_COMMENT, prompts=[5, 20, 32, 40, 90], vocab_size=64, max_position_embeddings=32,
                   **heads(4, 2, 16), **rope)


LONG_COMMENT = (
    "short_factor up to original_max_position_embeddings, long_factor beyond: of the whole forward by its largest position "
    "+ 1. generate() with a cache leaves cached keys as they were rotated, so that a prompt of 20 grows across the border "
    "with short keys behind long ones (greedy_ids), which running the whole sequence again does not (greedy_ids_uncached)."
)


def long_rope_cases():
    short = [1.0, 1.02, 1.05, 1.1, 1.2, 1.3, 1.45, 1.6]
    long = [1.0, 1.1, 1.35, 1.9, 2.8, 4.4, 6.5, 8.0]
    longrope = dict(short_factor=short, long_factor=long, original_max_position_embeddings=32)
    wide = heads(4, 2, 16, vocab_size=64, max_position_embeddings=256)
    border = [5, 20, 32, 33, 90]
    yield case("longrope_old_spelling", LONG_COMMENT, prompts=border, **old_rope(type="longrope", **longrope), **wide)
    yield case("longrope_new_spelling", LONG_COMMENT, prompts=border, **wide,
               **new_rope(rope_type="longrope", rope_theta=20000.0, factor=3.0, **longrope))
    yield case("longrope_attention_factor", "The original context beside, as Phi-3 has it.", prompts=LONG,
               original_max_position_embeddings=16, **wide,
               **new_rope(rope_type="longrope", rope_theta=10000.0, attention_factor=1.2, **longrope))


def llama3_rope_cases():
    llama3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                  original_max_position_embeddings=32)
    yield case("llama3_old_spelling", "As Llama 3.1 was published.", prompts=LONG, rope_theta=1000.0,
               **old_rope(**llama3), **heads(4, 2, 64, intermediate_size=344))
    yield case("llama3_new_spelling", prompts=LONG, **heads(4, 2, 16),
               **new_rope(**{**llama3, "rope_theta": 500.0, "factor": 32.0}))
    yield case("llama3_bfloat16", storage="bfloat16", prompts=LONG, rope_theta=1000.0, tie_word_embeddings=True,
               **old_rope(**llama3), **heads(4, 2, 64, intermediate_size=344))


def yarn_rope_cases():
    wide = heads(4, 2, 64, intermediate_size=172, max_position_embeddings=128)
    yarn = dict(factor=4.0, original_max_position_embeddings=32)
    yield case("yarn_old_spelling", prompts=LONG, **old_rope(type="yarn", **yarn), **wide)
    yield case("yarn_new_spelling", prompts=LONG, **wide, **new_rope(rope_type="yarn", rope_theta=20000.0, **yarn))
    yield case("yarn_attention_factor", prompts=LONG, **wide,
               **new_rope(rope_type="yarn", rope_theta=10000.0, attention_factor=1.3, **yarn))
    yield case("yarn_mscale", "attention_factor = mscale(factor, 0.707) / mscale(factor, 1.0).", prompts=LONG, **wide,
               **new_rope(rope_type="yarn", rope_theta=10000.0, mscale=0.707, mscale_all_dim=1.0, **yarn))
    yield case("yarn_mscale_all_dim_zero", "Zero counts as not given: mscale is then ignored.", prompts=LONG, **wide,
               **new_rope(rope_type="yarn", rope_theta=10000.0, mscale=0.707, mscale_all_dim=0.0, **yarn))
    yield case("yarn_beta_not_truncated", prompts=LONG, **wide,
               **new_rope(rope_type="yarn", rope_theta=1000.0, beta_fast=3.0, beta_slow=0.4, truncate=False, **yarn))
    yield case("yarn_beta_truncated", prompts=LONG, **wide,
               **new_rope(rope_type="yarn", rope_theta=1000.0, beta_fast=3.0, beta_slow=0.4, truncate=True, **yarn))
    yield case("yarn_beyond_the_stored_context", "The original context is stored: the factor extends it.",
               prompts=LONG, **{**wide, "max_position_embeddings": 32}, **old_rope(type="yarn", **yarn))
    yield case("yarn_without_original_context",
               "original_max_position_embeddings defaults to max_position_embeddings, not to its quotient by factor.",
               prompts=LONG, **old_rope(type="yarn", factor=4.0), **wide)
    yield case("yarn_original_context_beside",
               "A top-level original_max_position_embeddings overrides the inner one.", prompts=LONG,
               original_max_position_embeddings=16, **wide,
               **new_rope(rope_type="yarn", rope_theta=10000.0, **yarn))
    yield case("yarn_factor_null", "factor = max_position_embeddings / original_max_position_embeddings.",
               prompts=LONG, **wide,
               **new_rope(rope_type="yarn", rope_theta=10000.0, factor=None, original_max_position_embeddings=32))
    yield case("yarn_bfloat16", storage="bfloat16", prompts=LONG, **wide,
               **new_rope(rope_type="yarn", rope_theta=10000.0, **yarn))


def all_cases():
    groups = (attention_cases, shape_cases, storage_cases, plain_rope_cases, dynamic_rope_cases, llama3_rope_cases,
              yarn_rope_cases, long_rope_cases)
    cases = [entry for group in groups for entry in group()]
    for entry in cases:
        entry["seed"] = int(fnv1a64(entry["name"]) & np.uint64(0x7FFFFFFF))
    return cases
