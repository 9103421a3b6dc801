"""Runs the engine benchmark and writes its figures as a table and JSON.

    engine_report.py ENGINE_BENCHMARK_BINARY OUTPUT_DIRECTORY [--steps N] [--sequences N]
"""

import argparse
import json
import subprocess

from harness import machine
from harness.option_types import REPOSITORY, add_output, count, output_directory

# KV blocks of 16 tokens for each of the sequences: 1024 tokens of prompt and 512 of answer at most are 96.
CASES = {"enough KV blocks": 128, "scarce KV blocks": 30}


def measure(binary, steps, sequences, blocks):
    done = subprocess.run([binary, str(steps), str(sequences), str(blocks)], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def row(name, figures):
    heap = figures["heap_mib"]
    return (f"| {name} | {figures['rows_per_step']:.0f} | {figures['num_preemptions']:,} | {figures['p50_us']:.0f} | "
            f"{figures['p99_us']:.0f} | {figures['p999_us']:.0f} | {heap[0]:.1f} / {heap[len(heap) // 2]:.1f} / {heap[-1]:.1f} |")


def table(results):
    return "\n".join(["| | rows per step | preemptions | p50, µs | p99, µs | p99.9, µs | heap at begin / half / end, MiB |",
                      "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
                      *(row(name, figures) for name, figures in results.items())])


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench engine", description="What a step costs the engine's thread: planning and applying.")
    parser.add_argument("--steps", type=count, default=1_000_000, metavar="N", help="of each case (default: a million)")
    parser.add_argument("--sequences", type=count, default=256, metavar="N", help="that run at once (default: 256)")
    add_output(parser, "engine")
    options = parser.parse_args()
    output = output_directory(parser, options)
    results = {name: measure(REPOSITORY / "build/release/bin/engine-benchmark", options.steps, options.sequences, options.sequences * blocks)
               for name, blocks in CASES.items()}
    text = table(results)
    print(text)
    facts = machine.facts(REPOSITORY)
    report = {"machine": facts, "results": results}
    (output / "engine.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (output / "engine.md").write_text(f"""# What a step costs the engine

Written by `scripts/bench engine`: {options.steps:,} steps with {options.sequences} sequences running and 32 waiting. Requests come as others
end; half of the prompts share a beginning, 3 % of the clients leave. A step is planning, applying a result and taking the events, in CPU time
of the one thread that does it, after a warm-up. The aim is a p99 below 300 µs and a heap that does not grow.

{text}

{facts["cpu"]}, commit {facts["commit"]}.
""", encoding="utf-8")


if __name__ == "__main__":
    main()
