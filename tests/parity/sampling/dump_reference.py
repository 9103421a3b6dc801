"""Dumps how transformers turns logits into the distribution that it samples from: reference.json beside this file.

The processors and their order are those that generate() itself builds for the options (GenerationMixin's
_get_logits_processor): logit bias, repetition penalty, minimum length, allowed tokens, temperature, top-k, top-p, min-p, typical-p;
then softmax. Presence and frequency penalties, which transformers does not have, are a processor of this file: a custom one, for which
generate()'s place is before the temperature. A token that was filtered has probability null, as against one whose probability is merely
0 in float32.

Left out on purpose is what transformers leaves undefined: a cut that falls between equal probabilities, or within rounding
of a threshold. The script checks that slightly other thresholds, in float64, keep the same tokens.
"""

import json
import math
import pathlib

import torch
import transformers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, LogitsProcessor, LogitsProcessorList

OFF = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical_p": 1.0, "repetition_penalty": 1.0,
       "logit_bias": {}, "presence_penalty": 0.0, "frequency_penalty": 0.0, "min_new_tokens": 0, "end_token_ids": [],
       "allowed_token_ids": []}
OURS = ("logit_bias", "presence_penalty", "frequency_penalty", "end_token_ids", "allowed_token_ids")
THRESHOLDS = ("top_p", "min_p", "typical_p")
CLOSENESS = 1e-5

PLAIN = [
    {},
    {"temperature": 0.7},
    {"temperature": 0.01},
    {"temperature": 1.9},
    {"temperature": 50.0},
    {"top_k": 1},
    {"top_k": 5},
    {"top_k": 100000},
    {"top_p": 0.0},
    {"top_p": 0.1},
    {"top_p": 0.5},
    {"top_p": 0.9},
    {"top_p": 0.999},
    {"min_p": 0.05},
    {"min_p": 0.5},
    {"min_p": 1.0},
    {"typical_p": 0.3},
    {"typical_p": 0.9},
]
COMBINED = [
    {"temperature": 0.5, "top_k": 20},
    {"temperature": 0.6, "top_p": 0.9},
    {"temperature": 1.5, "min_p": 0.1},
    {"top_k": 10, "top_p": 0.8},
    {"top_k": 3, "top_p": 0.99},
    {"top_p": 0.7, "min_p": 0.2},
    {"top_p": 0.95, "typical_p": 0.6},
    {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05},
    {"temperature": 2.0, "top_k": 12, "top_p": 0.6, "min_p": 0.3},
    {"temperature": 1.3, "top_k": 25, "top_p": 0.9, "min_p": 0.02, "typical_p": 0.8},
]
WITH_HISTORY = [
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.8},
    {"repetition_penalty": 1.2, "temperature": 0.7, "top_k": 8, "top_p": 0.9},
    {"logit_bias": {"0": 4.0, "7": -6.0}},
    {"logit_bias": {"3": 2.5, "5": -1.0}, "repetition_penalty": 1.5, "temperature": 0.9, "min_p": 0.1},
]
# Of a history, the first NUM_PROMPT_TOKENS are the prompt.
HISTORY = [3, 5, 5, 11, 3, 0, 3]
NUM_PROMPT_TOKENS = 3
EDITS = [
    {"presence_penalty": 1.5},
    {"frequency_penalty": 0.8},
    {"presence_penalty": -0.7, "frequency_penalty": -0.4},
    {"presence_penalty": 2.0, "frequency_penalty": 2.0, "repetition_penalty": 1.7},
    {"allowed_token_ids": [1, 3, 5, 6]},
    {"allowed_token_ids": [6]},
    {"allowed_token_ids": [5, 2, 0, 2], "temperature": 0.6, "top_p": 0.9},
    {"min_new_tokens": 5, "end_token_ids": [2, 5]},
    {"min_new_tokens": 4, "end_token_ids": [2, 5]},
    {"logit_bias": {"2": 60.0, "6": -60.0}},
    {"logit_bias": {"1": 2.5, "3": -1.5}, "repetition_penalty": 1.2, "presence_penalty": 0.3, "frequency_penalty": 0.2,
     "min_new_tokens": 9, "end_token_ids": [0], "allowed_token_ids": [0, 1, 2, 3, 4, 5], "temperature": 0.8, "top_k": 5,
     "top_p": 0.97, "min_p": 0.01, "typical_p": 0.9},
]


def vectors():
    """Name, logits, and which options to try on them."""
    generator = torch.Generator().manual_seed(20)
    draw = lambda size, std: (torch.randn(size, generator=generator) * std).tolist()
    everything = PLAIN + COMBINED + WITH_HISTORY + EDITS
    yield "lively", draw(40, 2.5), everything
    yield "nearly_flat", draw(40, 0.3), everything
    peaked = draw(40, 1.0)
    peaked[17] += 12.0
    yield "peaked", peaked, everything
    yield "offset_by_1000", [1000.0 + x for x in draw(16, 2.0)], PLAIN + COMBINED
    masked = draw(24, 2.0)
    yield "masked", [-math.inf if i % 3 else x for i, x in enumerate(masked)], PLAIN + COMBINED
    yield "vocab_300", draw(300, 3.0), COMBINED
    # Top-k and min-p keep every token that equals the last one kept, so more than k may stay.
    ties = [{}, {"top_k": 3}, {"top_k": 1}, {"top_k": 5}, {"min_p": 0.5}, {"min_p": 1.0}, {"top_k": 3, "temperature": 0.5}]
    yield "ties", [2.0, 1.0, 1.0, -1.0, 1.0, 2.0, 0.5, 1.0], ties
    yield "all_equal", [0.25] * 6, [{}, {"top_k": 2}, {"min_p": 1.0}, {"temperature": 0.1}]
    yield "one_token", [3.0], PLAIN
    yield "vocab_7", draw(7, 2.0), WITH_HISTORY[:3] + EDITS
    yield "vocab_1000", draw(1000, 3.0), [COMBINED[-1], {"typical_p": 0.5}, EDITS[0], EDITS[3], EDITS[-1], WITH_HISTORY[2]]
    # Typical-p keeps every token that is as far from the entropy as the last one kept.
    typical = [{"typical_p": p} for p in (0.05, 0.25, 0.5, 0.8, 0.98)]
    yield "typical_ties", [2.0, 1.0, 1.0, -1.0, 1.0, 2.0, 0.5, 1.0, -1.0, -1.0], typical
    yield "typical_all_equal", [0.25] * 6, [{"typical_p": 0.4}, {"typical_p": 0.9, "temperature": 0.5}]


class AnswerPenalties(LogitsProcessor):
    """The penalties as OpenAI's API defines them: on what has been answered, not on the prompt."""

    def __init__(self, presence, frequency):
        self.presence, self.frequency = presence, frequency

    def __call__(self, input_ids, scores):
        counts = torch.bincount(input_ids[0, NUM_PROMPT_TOKENS:], minlength=scores.shape[1]).to(scores.dtype)
        return scores - self.presence * (counts > 0).to(scores.dtype) - self.frequency * counts


def processors(model, options):
    config = GenerationConfig(do_sample=True, num_beams=1, **{k: v for k, v in options.items() if k not in OURS})
    if options["end_token_ids"]:
        config._eos_token_tensor = torch.tensor(options["end_token_ids"])
    custom = LogitsProcessorList()
    if options["presence_penalty"] or options["frequency_penalty"]:
        custom.append(AnswerPenalties(options["presence_penalty"], options["frequency_penalty"]))
    allowed = options["allowed_token_ids"]
    if options["logit_bias"]:
        config.sequence_bias = {(int(token),): bias for token, bias in options["logit_bias"].items()}
    return model._get_logits_processor(generation_config=config, input_ids_seq_length=NUM_PROMPT_TOKENS, logits_processor=custom,
                                       prefix_allowed_tokens_fn=(lambda *_: allowed) if allowed else None)


def processed(model, options, logits, dtype=torch.float32):
    scores = torch.tensor([logits], dtype=torch.float32).to(dtype)
    return processors(model, options)(torch.tensor([HISTORY]).clamp(max=len(logits) - 1), scores)[0]


def is_clear_cut(model, options, logits):
    expected = processed(model, options, logits).isfinite()
    for factor in (1 - CLOSENESS, 1 + CLOSENESS):
        moved = {key: 1 - (1 - options[key]) * factor if key != "min_p" else options[key] * factor for key in THRESHOLDS}
        moved = {key: min(value, 1.0) for key, value in moved.items() if options[key] not in (0.0, 1.0)}
        if not torch.equal(processed(model, {**options, **moved}, logits, torch.float64).isfinite(), expected):
            return False
    return True


def dump_case(model, logits, changes):
    options = {**OFF, **changes}
    assert is_clear_cut(model, options, logits), f"{changes}: too close to a threshold, take another"
    scores = processed(model, options, logits)
    probabilities = scores.softmax(dim=-1).tolist()
    return {**changes, "probabilities": [p if s > -math.inf else None for p, s in zip(probabilities, scores.tolist())]}


def without_infinities(logits):
    return [None if x == -math.inf else x for x in torch.tensor(logits, dtype=torch.float32).tolist()]


def main():
    transformers.logging.set_verbosity_error()
    shape = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=8)
    model = LlamaForCausalLM(LlamaConfig(**shape))
    lines = []
    for name, logits, choices in vectors():
        cases = [json.dumps(dump_case(model, logits, changes)) for changes in choices]
        head = f'{{"name": "{name}", "logits": {json.dumps(without_infinities(logits))}, "cases": [\n  '
        lines.append(head + ",\n  ".join(cases) + "]}")
    text = (f'{{"transformers": "{transformers.__version__}", "history": {HISTORY}, "num_prompt_tokens": {NUM_PROMPT_TOKENS},\n'
            f'"defaults": {json.dumps(OFF)},\n'
            f'"vectors": [\n' + ",\n".join(lines) + "]}\n")
    json.loads(text)
    (pathlib.Path(__file__).parent / "reference.json").write_text(text)


if __name__ == "__main__":
    main()
