"""The command line of `scripts/bench forward`, parsed and checked once."""

import argparse
import os
import pathlib
import re
import sys

from harness.checkpoint import read_config
from harness.option_types import count, counts

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
# Lockstep answers one Forward call with at most this many bytes of logits.
MAX_LOGITS_BYTES = 1 << 30


def _parser():
    parser = argparse.ArgumentParser(
        prog="scripts/bench forward",
        allow_abbrev=False,  # scripts/bench looks for whole names
        description="Times a forward pass and decoding of Lockstep beside transformers' own tensor parallelism, same checkpoint, same cores.",
    )
    add = parser.add_argument
    add("--model", type=pathlib.Path, default=REPOSITORY / "build/bench/llama-3.2-1b", metavar="DIR",
        help="bfloat16 checkpoint (default: random weights in the shape of Llama-3.2-1B)")  # fmt: skip
    add("--ranks", type=counts, default=[1, 2], metavar="N,…", help="tensor-parallel sizes (default: 1,2)")
    add("--cores", type=count, default=len(os.sched_getaffinity(0)), metavar="N",
        help="cores for each system; a rank gets its share of them as threads (default: all)")  # fmt: skip
    add("--batch-sizes", type=counts, default=[1, 2, 4], metavar="N,…", help="prompts of a forward pass (default: 1,2,4)")
    add("--sequence-length", type=count, default=512, metavar="TOKENS", help="length of each prompt (default: 512)")
    add("--decode-batch-sizes", type=counts, default=[1, 4], metavar="N,…", help="streams that decode together (default: 1,4)")
    add("--decode-tokens", type=count, default=24, metavar="TOKENS", help="length of each answer (default: 24)")
    add("--streams", type=count, default=32, metavar="N", help="streams for the frontend's overhead (default: 32)")
    add("--repeats", type=count, default=5, metavar="N", help="rounds over all measurements (default: 5)")
    add("--max-minutes", type=float, default=8.0, metavar="M", help="no round begins that would not end by then (default: 8)")
    add("--quick", action="store_true", help="a look: one round of batch size 1, results not in docs/")
    add("--sides", type=lambda text: text.split(","), default=["lockstep", "transformers"], metavar="SIDE,…",
        help="lockstep, transformers or both (default: both); what is left out is reported as unmeasured")  # fmt: skip
    add("--bin", type=pathlib.Path, default=REPOSITORY / "build/release/bin", metavar="DIR", dest="bin_dir",
        help="where lockstep-server is; scripts/bench builds only the default")  # fmt: skip
    add("--reference-python", type=pathlib.Path, default=REPOSITORY / ".deps/reference/bin/python", metavar="FILE",
        help="Python with torch and transformers (default: made by scripts/setup --reference)")  # fmt: skip
    add("--output", type=pathlib.Path, metavar="DIR", help="where the page goes (default: docs/benchmarks)")
    add("--page", default="forward", metavar="NAME", help="the page is NAME.md, NAME.json and NAME.svg (default: forward)")
    return parser


def parse_syntax(arguments):
    """What can be checked before anything is installed, built or made."""
    parser = _parser()
    options = parser.parse_args(arguments)
    for side in options.sides:
        if side not in ("lockstep", "transformers"):
            parser.error(f"argument --sides: '{side}' is neither lockstep nor transformers")
    if options.decode_tokens < 8:
        parser.error(f"argument --decode-tokens: {options.decode_tokens} is too few to time; at least 8")
    if not re.fullmatch(r"[\w-]+", options.page):
        parser.error(f"argument --page: '{options.page}' is more than letters, digits, hyphens and underscores")
    for ranks in options.ranks:
        if options.cores % ranks:
            parser.error(f"argument --ranks: {ranks} ranks do not divide {options.cores} cores; see --cores")
    if options.quick:
        options.repeats, options.batch_sizes, options.decode_batch_sizes = 1, [1], [1]
    return parser, options


def parse(arguments):
    parser, options = parse_syntax(arguments)
    options.config = read_config(parser, options.model)
    logits_bytes = max(options.batch_sizes) * options.sequence_length * options.config["vocab_size"] * 4
    if logits_bytes > MAX_LOGITS_BYTES:
        parser.error(
            f"argument --batch-sizes: {max(options.batch_sizes)} prompts of {options.sequence_length} tokens make {logits_bytes} bytes "
            f"of logits, over the {MAX_LOGITS_BYTES} that one Forward call answers; take fewer or shorter prompts"
        )
    if "lockstep" in options.sides and not os.access(options.bin_dir / "lockstep-server", os.X_OK):
        parser.error(f"argument --bin: no lockstep-server in {options.bin_dir}")
    if "transformers" in options.sides and not os.access(options.reference_python, os.X_OK):
        parser.error(f"argument --reference-python: {options.reference_python} cannot be run; scripts/setup --reference makes it")
    options.output = options.output or (REPOSITORY / ("build/bench/quick" if options.quick else "docs/benchmarks"))
    options.work_dir = REPOSITORY / "build/bench/logs"
    options.start_seconds, options.call_seconds = 300, max(300, 60 * options.max_minutes)
    return options


if __name__ == "__main__":
    parse_syntax(sys.argv[1:])
