#!/usr/bin/env python3
"""Makes the demo model from nothing: trains the tokenizer, makes the conversations, trains, writes.

    python train.py --output model

The result depends on the seeds and the number of steps only (and, in the last digits, on the machine's
arithmetic). Weights are trained in float32, with bfloat16 arithmetic in the matrix products, and are
stored as bfloat16; evaluate.py measures the stored ones.
"""

import argparse
import math
import pathlib
import random
import signal
import time
from typing import Iterator

import tokenizers
import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

import corpus
from tokenizer import (BOS, END_HEADER, EOS, START_HEADER, TURN_END, VOCAB_SIZE, save_tokenizer,
                       train_tokenizer)

CONTEXT_LENGTH = 512
NOT_LEARNED = -100  # the label of a position without loss
POOL_SIZE = 1500    # documents sorted by length together, so that a batch has little padding


def model_config(bos_id: int, eos_ids: list[int], pad_id: int) -> LlamaConfig:
    """3.1 M parameters; heads, KV heads and vocabulary divide by 4, for 1, 2 or 4 ranks."""
    return LlamaConfig(
        vocab_size=VOCAB_SIZE, hidden_size=256, intermediate_size=704, num_hidden_layers=4,
        num_attention_heads=8, num_key_value_heads=4, head_dim=32, hidden_act="silu",
        max_position_embeddings=CONTEXT_LENGTH, rms_norm_eps=1e-5, tie_word_embeddings=True,
        bos_token_id=bos_id, eos_token_id=eos_ids, pad_token_id=pad_id)


class Encoder:
    """Turns a document into input ids and labels, as the chat template would lay them out."""

    def __init__(self, tokenizer: tokenizers.Tokenizer):
        self._tokenizer = tokenizer
        self._id = {name: tokenizer.token_to_id(name)
                    for name in (BOS, EOS, START_HEADER, END_HEADER, TURN_END)}

    def _text(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def encode(self, document: corpus.Document) -> tuple[list[int], list[int]]:
        """Input ids and labels of equal length; only what the assistant says has labels."""
        ids, labels = [self._id[BOS]], [NOT_LEARNED]
        if document.plain_text:
            ids += self._text(document.plain_text) + [self._id[EOS]]
            labels = ids[:]
        for role, content in document.messages:
            header = [self._id[START_HEADER], *self._text(role), self._id[END_HEADER],
                      *self._text("\n\n")]
            body = self._text(content) + [self._id[TURN_END]]
            if len(ids) + len(header) + len(body) > CONTEXT_LENGTH:
                break
            ids += header + body
            labels += [NOT_LEARNED] * len(header)
            labels += body if role == "assistant" else [NOT_LEARNED] * len(body)
        return ids, labels


def batches(encoder: Encoder, tokens_per_batch: int, pad_id: int,
            seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless batches of input ids and labels, each `[num_rows, row_length]`."""
    rng = random.Random(seed)
    stream = corpus.documents(seed)
    while True:
        pool = sorted((encoder.encode(next(stream)) for _ in range(POOL_SIZE)),
                      key=lambda row: len(row[0]))
        groups, group = [], []
        for row in pool:
            if group and (len(group) + 1) * len(row[0]) > tokens_per_batch:
                groups.append(group)
                group = []
            group.append(row)
        rng.shuffle(groups)  # the unfinished last group is left out
        for group in groups:
            yield _padded([ids for ids, _ in group], pad_id), _padded(
                [labels for _, labels in group], NOT_LEARNED)


def _padded(rows: list[list[int]], value: int) -> torch.Tensor:
    """Padding stands on the right, where causal attention never looks back at it."""
    length = max(len(row) for row in rows)
    return torch.tensor([row + [value] * (length - len(row)) for row in rows])


def learning_rate(step: int, num_steps: int, peak: float, num_warmup: int = 100) -> float:
    if step < num_warmup:
        return peak * (step + 1) / num_warmup
    progress = (step - num_warmup) / (num_steps - num_warmup)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def make_optimizer(model: LlamaForCausalLM, peak: float) -> torch.optim.AdamW:
    decayed = [p for p in model.parameters() if p.dim() == 2]
    others = [p for p in model.parameters() if p.dim() != 2]
    return torch.optim.AdamW([{"params": decayed, "weight_decay": 0.05},
                              {"params": others, "weight_decay": 0.0}], lr=peak, betas=(0.9, 0.98))


def train(model: LlamaForCausalLM, data: Iterator[tuple[torch.Tensor, torch.Tensor]],
          num_steps: int, peak: float) -> None:
    """Ctrl-C ends training after the step at hand, so that what was learned can still be written."""
    optimizer = make_optimizer(model, peak)
    start, num_tokens, mean_loss = time.monotonic(), 0, 0.0
    interrupted = []
    signal.signal(signal.SIGINT, lambda *_: interrupted.append(True))
    model.train()
    for step in range(num_steps):
        input_ids, labels = next(data)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, num_steps, peak)
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(input_ids=input_ids, labels=labels, use_cache=False).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        num_tokens += input_ids.numel()
        mean_loss = loss.item() if step == 0 else 0.98 * mean_loss + 0.02 * loss.item()
        if (step + 1) % 50 == 0 or interrupted:
            seconds = time.monotonic() - start
            print(f"step {step + 1}/{num_steps} loss {mean_loss:.4f} "
                  f"{num_tokens / 1e6:.2f} M tokens {seconds:.0f} s", flush=True)
        if interrupted:
            return


def save_model(model: LlamaForCausalLM, directory: pathlib.Path) -> None:
    model.to(torch.bfloat16)
    model.generation_config = GenerationConfig(
        bos_token_id=model.config.bos_token_id, eos_token_id=model.config.eos_token_id,
        pad_token_id=model.config.pad_token_id, do_sample=False)
    model.save_pretrained(directory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=pathlib.Path,
                        default=pathlib.Path(__file__).parent / "model")
    parser.add_argument("--num-steps", type=int, default=2400)
    parser.add_argument("--tokens-per-batch", type=int, default=2048)
    parser.add_argument("--peak-learning-rate", type=float, default=2e-3)
    parser.add_argument("--num-threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    torch.set_num_threads(args.num_threads)
    torch.manual_seed(args.seed)
    args.output.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer()
    save_tokenizer(tokenizer, args.output, CONTEXT_LENGTH)
    bos_id, eos_id, turn_end_id = (tokenizer.token_to_id(name) for name in (BOS, EOS, TURN_END))
    model = LlamaForCausalLM(model_config(bos_id, [eos_id, turn_end_id], pad_id=eos_id))
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    data = batches(Encoder(tokenizer), args.tokens_per_batch, eos_id, args.seed)
    train(model, data, args.num_steps, args.peak_learning_rate)
    save_model(model, args.output)


if __name__ == "__main__":
    main()
