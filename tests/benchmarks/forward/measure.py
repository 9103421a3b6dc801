"""The measurements themselves: what is run, in which order, and the check that both sides do the same work."""

import math
import random
import time

from harness.children import BenchmarkError, cpu_seconds

AGREEMENT_PROMPTS, AGREEMENT_LENGTH = 4, 64
DECODE_PROMPT_LENGTH = 64
STREAM_PROMPT_LENGTH, STREAM_TOKENS = 16, 32
# bfloat16 rounds differently in every order of summation: no more of it than this many times the reference's own.
MAX_ERROR_RATIO = 1.5


class Prompts:
    """Fresh random token ids every time, the same for all systems of a measurement: nothing can come from a cache."""

    def __init__(self, vocab_size, seed):
        self._random = random.Random(seed)
        self._vocab_size = vocab_size

    def draw(self, num_prompts, length):
        return [[self._random.randrange(self._vocab_size) for _ in range(length)] for _ in range(num_prompts)]


def relative_error(logits, reference):
    """Root mean square of the difference over that of the reference."""
    difference = math.fsum((a - b) ** 2 for a, b in zip(logits, reference))
    return math.sqrt(difference / math.fsum(b * b for b in reference))


def argmax(logits):
    return max(range(len(logits)), key=logits.__getitem__)


def agreement(logits, reference):
    """How far one system's last-position logits are from float32's, over all prompts."""
    rows = list(zip(logits, reference, strict=True))
    chosen = [argmax(row) for row, _ in rows]
    return {
        "relative_error": max(relative_error(row, exact) for row, exact in rows),
        "largest_difference": max(abs(a - b) for row, exact in rows for a, b in zip(row, exact)),
        "same_argmax": sum(index == argmax(exact) for index, (_, exact) in zip(chosen, rows)),
        # How much less probable, in logits, float32 finds what this system would choose.
        "argmax_deficit": max(exact[argmax(exact)] - exact[index] for index, (_, exact) in zip(chosen, rows)),
        "num_prompts": len(rows),
    }


def check_agreement(agreements, noise):
    """`noise`: the agreement of transformers in bfloat16 with itself in float32. Raises if a system computes something else."""
    limit = MAX_ERROR_RATIO * noise["relative_error"]
    for name, found in agreements.items():
        if not found["relative_error"] <= limit:
            raise BenchmarkError(
                f"{name} does not compute what the reference does: its logits' relative error against float32 is "
                f"{found['relative_error']:.4f}, over {MAX_ERROR_RATIO} times transformers' own bfloat16 error of {noise['relative_error']:.4f}"
            )
        if found["argmax_deficit"] > 2 * noise["largest_difference"]:
            raise BenchmarkError(f"{name} chooses a token that float32 puts {found['argmax_deficit']:.3f} behind its own choice")


def _timed(system, run):
    """CPU time is of all the system's processes: unlike wall time, it says little of the neighbours."""
    before = sum(map(cpu_seconds, system.pids))
    result = run()
    result["cpu_seconds"] = sum(map(cpu_seconds, system.pids)) - before
    return result


def forward_round(systems, options, prompts, record, say):
    for batch_size in options.batch_sizes:
        for all_positions in (False, True):
            batch = prompts.draw(batch_size, options.sequence_length)
            for system in systems:
                result = _timed(system, lambda: system.forward(batch, all_positions))  # noqa: B023
                record("forward", system, batch_size=batch_size, all_positions=all_positions, **result)
                what = "all positions" if all_positions else "last position"
                say(f"forward, batch {batch_size}, {what}: {system.name} {result['seconds']:.3f} s (CPU {result['cpu_seconds']:.2f} s)")


def decode_round(systems, options, prompts, record, say):
    for batch_size in options.decode_batch_sizes:
        batch = prompts.draw(batch_size, DECODE_PROMPT_LENGTH)
        for system in systems:
            result = _timed(system, lambda: system.decode(batch, options.decode_tokens))  # noqa: B023
            record("decode", system, batch_size=batch_size, **result)
            say(f"decode, batch {batch_size}: {system.name} {result['tokens_per_second']:.2f} tokens/s (CPU {result['cpu_seconds']:.2f} s)")


def rounds(systems, options, record, say):
    """Interleaves the systems, in turns forwards and backwards, so that a neighbour's burst hits all of them alike."""
    prompts = Prompts(options.config["vocab_size"], seed=2)
    warm_up = prompts.draw(max(options.batch_sizes), options.sequence_length)
    for system in systems:
        say(f"warming up {system.name}")
        # All that is measured: the first logits of all positions take memory that no call has used before.
        for all_positions in (False, True):
            system.forward(warm_up[:1] if options.quick else warm_up, all_positions)
    began = time.monotonic()
    for number in range(options.repeats):
        elapsed = time.monotonic() - began
        if number and elapsed * (number + 1) / number > options.max_minutes * 60:
            say(f"the next round would pass {options.max_minutes:g} minutes: stopping after {number} of {options.repeats}")
            return number
        order = systems if number % 2 == 0 else systems[::-1]
        say(f"round {number + 1} of {options.repeats}")
        forward_round(order, options, prompts, record, say)
        decode_round(order, options, prompts, record, say)
    return options.repeats


def gemm_rate(system, options):
    """Of the product that a forward pass spends most on: one prompt through the MLP's projections."""
    config = options.config
    return system.gemm_rate(options.sequence_length, config["hidden_size"], config["intermediate_size"])


def frontend_overhead(system, options):
    """From the first request to the last answer's end: what is not a step's duration, per token of the answers."""
    prompts = Prompts(options.config["vocab_size"], seed=3).draw(options.streams, STREAM_PROMPT_LENGTH)
    before = system.step_totals()
    if before is None:
        return {"unmeasured": "/metrics has no lockstep_step_duration_seconds"}
    cpu_before = cpu_seconds(system.frontend_pid())
    began = time.perf_counter()
    system.run_streams(prompts, STREAM_TOKENS)
    wall = time.perf_counter() - began
    cpu = cpu_seconds(system.frontend_pid()) - cpu_before
    steps, step_seconds = (after - start for after, start in zip(system.step_totals(), before))
    tokens = options.streams * STREAM_TOKENS
    return {
        "system": system.name,
        "streams": options.streams,
        "tokens": tokens,
        "steps": int(steps),
        "wall_seconds": wall,
        "step_seconds": step_seconds,
        "overhead_seconds_per_token": (wall - step_seconds) / tokens,
        "overhead_seconds_per_step": (wall - step_seconds) / steps,
        "frontend_cpu_seconds_per_token": cpu / tokens,
    }
