"""The command line of `scripts/bench serve`, parsed and checked once."""

import argparse
import os
import pathlib
import sys

from harness.checkpoint import read_config
from harness.option_types import count, counts

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
DEMO_MODEL = REPOSITORY / "deploy/demo_model/model"
DEFAULT_MODEL = REPOSITORY / "build/bench/smollm2-135m"
SIDES = ["lockstep", "transformers", "llama.cpp"]


def _sides(text):
    sides = text.split(",")
    if not set(sides) <= set(SIDES) or len(set(sides)) != len(sides):
        raise ValueError
    return sides


_sides.__name__ = "list of " + ", ".join(SIDES)


def _parser():
    parser = argparse.ArgumentParser(
        prog="scripts/bench serve",
        allow_abbrev=False,  # scripts/bench looks for whole names
        description="The same requests, at the same times, to Lockstep, transformers' continuous batching and llama.cpp's server, on the same cores.",
    )
    add = parser.add_argument
    add("--model", type=pathlib.Path, action="append", metavar="DIR", dest="models",
        help="bfloat16 checkpoint; may be given again (default: the demo model, and random weights in the shape of SmolLM2-135M)")  # fmt: skip
    add("--sides", type=_sides, default=list(SIDES), metavar="SIDE,…", help="which to measure (default: " + ",".join(SIDES) + ")")
    add("--cores", type=count, default=len(os.sched_getaffinity(0)), metavar="N", help="threads of each system (default: all cores)")
    add("--concurrency", type=counts, default=[1, 8, 32], metavar="N,…", help="answers under way at once in the closed loops (default: 1,8,32)")
    add("--requests-per-stream", type=count, default=2, metavar="N", help="requests of a closed loop, times its concurrency; at least 4 in all (default: 2)")
    add("--open-loop-requests", type=count, default=48, metavar="N", help="requests of a Poisson process (default: 48)")
    add("--input-len", type=count, default=128, metavar="TOKENS", help="prompts' mean length; uniform in ± 50 %% (default: 128)")
    add("--output-len", type=count, default=64, metavar="TOKENS", help="answers' mean length; uniform in ± 50 %% (default: 64)")
    add("--repeats", type=count, default=3, metavar="N", help="rounds over all measurements (default: 3)")
    add("--seed", type=int, default=1, metavar="N", help="of prompts, lengths and arrivals (default: 1)")
    add("--quick", action="store_true", help="a look: one round of the demo model, results not in docs/")
    add("--bin", type=pathlib.Path, default=REPOSITORY / "build/release/bin", metavar="DIR", dest="bin_dir",
        help="where lockstep-server and lockstep are; scripts/bench builds only the default")  # fmt: skip
    add("--reference-python", type=pathlib.Path, default=REPOSITORY / ".deps/reference/bin/python", metavar="FILE",
        help="Python with torch and transformers (default: made by scripts/setup --reference)")  # fmt: skip
    add("--llama-cpp", type=pathlib.Path, default=REPOSITORY / "build/peers/llama.cpp", metavar="DIR", dest="llama_cpp",
        help="llama.cpp's source/ and build/ (default: made by scripts/bench)")  # fmt: skip
    add("--output", type=pathlib.Path, metavar="DIR", help="where serving.md, .json and .svg go (default: docs/benchmarks)")
    return parser


def parse_syntax(arguments):
    """What can be checked before anything is installed, built or made."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.quick:
        if options.models:
            parser.error("argument --quick: it takes the demo model; leave --model out")
        options.models, options.repeats = [DEMO_MODEL], 1
    options.models = options.models or [DEMO_MODEL, DEFAULT_MODEL]
    return parser, options


def parse(arguments):
    parser, options = parse_syntax(arguments)
    options.configs = [read_config(parser, model) for model in options.models]
    for model, config in zip(options.models, options.configs):
        if max_length(options) > config["max_position_embeddings"]:
            parser.error(
                f"argument --input-len: prompts and answers of up to {max_length(options)} tokens do not fit into the "
                f"{config['max_position_embeddings']} of {model}; take shorter ones with --input-len and --output-len"
            )
    if "lockstep" in options.sides and not os.access(options.bin_dir / "lockstep-server", os.X_OK):
        parser.error(f"argument --bin: no lockstep-server in {options.bin_dir}")
    options.output = options.output or (REPOSITORY / ("build/bench/quick" if options.quick else "docs/benchmarks"))
    options.work_dir = REPOSITORY / "build/bench/logs"
    options.start_seconds, options.run_seconds = 300, 900
    return options


def max_length(options):
    """Of a prompt and its answer together: both are up to half longer than their mean."""
    return (options.input_len * 3 + 1) // 2 + (options.output_len * 3 + 1) // 2


if __name__ == "__main__":
    parse_syntax(sys.argv[1:])
