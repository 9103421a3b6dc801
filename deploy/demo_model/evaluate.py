#!/usr/bin/env python3
"""Asks a checkpoint of the demo model questions that were held out of training, and checks the answers.

    python evaluate.py                    # the committed model, computed in float32
    python evaluate.py --dtype bfloat16

Prints the accuracy per category, and exits with status 1 when any category is under 95 %. Every
second question is asked as the third turn of a conversation, the others alone. Answers are greedy.
"""

import argparse
import pathlib
import random
import sys

import torch
from transformers import AutoTokenizer, LlamaForCausalLM

import questions

NEEDED = 0.95
MAX_NEW_TOKENS = 200

Conversation = list[dict[str, str]]


def conversation(question: questions.Question, rng: random.Random,
                 num_turns_before: int) -> Conversation:
    """The question, after some other turns that were answered rightly."""
    messages = []
    for _ in range(num_turns_before):
        earlier = questions.training_question(rng.choice(list(questions.CATEGORIES)), rng)
        messages += [{"role": "user", "content": earlier.text},
                     {"role": "assistant", "content": earlier.answer}]
    return messages + [{"role": "user", "content": question.text}]


@torch.inference_mode()
def replies(model: LlamaForCausalLM, tokenizer, conversations: list[Conversation]) -> list[str]:
    """Greedy answers. Prompts of unequal length are padded on the left and masked."""
    prompts = tokenizer.apply_chat_template(
        conversations, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True)
    generated = model.generate(**prompts, max_new_tokens=MAX_NEW_TOKENS, do_sample=False)
    answers = generated[:, prompts["input_ids"].shape[1]:]
    return tokenizer.batch_decode(answers, skip_special_tokens=True)


def evaluate_category(model: LlamaForCausalLM, tokenizer, category: str, num: int, seed: int,
                      verbose: bool) -> tuple[int, int]:
    """Returns how many were right, and of how many."""
    asked = list(questions.held_out_questions(category, num, seed))
    rng = random.Random(seed)
    right = 0
    for start in range(0, len(asked), 50):
        part = asked[start:start + 50]
        talks = [conversation(question, rng, 2 * (i % 2)) for i, question in enumerate(part)]
        for question, reply in zip(part, replies(model, tokenizer, talks)):
            ok = question.check(reply)
            right += ok
            if verbose and not ok:
                print(f"  {question.text!r} -> {reply!r}", file=sys.stderr)
    return right, len(asked)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=pathlib.Path, default=pathlib.Path(__file__).parent / "model")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--num", type=int, default=200, help="questions per category")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--num-threads", type=int, default=1)
    parser.add_argument("--verbose", action="store_true", help="print every wrong answer")
    args = parser.parse_args()

    torch.set_num_threads(args.num_threads)
    tokenizer = AutoTokenizer.from_pretrained(args.model, padding_side="left")
    model = LlamaForCausalLM.from_pretrained(args.model, dtype=getattr(torch, args.dtype)).eval()
    total_right = total_asked = 0
    passed = True  # all categories together pass when each one does
    for category in questions.CATEGORIES:
        right, asked = evaluate_category(model, tokenizer, category, args.num, args.seed, args.verbose)
        print(f"{category:10s} {right:4d} of {asked:4d}  {right / asked:7.1%}", flush=True)
        passed &= right >= NEEDED * asked
        total_right, total_asked = total_right + right, total_asked + asked
    print(f"{'all':10s} {total_right:4d} of {total_asked:4d}  {total_right / total_asked:7.1%}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
