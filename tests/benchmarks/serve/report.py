"""The page and the chart, from the results."""

from statistics import median

from harness import chart
from harness.tables import spread, table
from summary import FIGURES, times_better

# More of the machine than this in others' hands, and the figures say less.
MAX_QUIET_SHARE = 0.05
# By how much a figure may be worse than a peer's before the page says that Lockstep is behind.
TIE = 0.97
OPEN_LOOPS = ["Poisson, a rate that all can bear", "Poisson, a rate for the fastest"]
PEERS = {"transformers": "transformers (continuous batching)", "llama.cpp": "llama.cpp (llama-server)"}


def closed(concurrency):
    return f"{concurrency} at once"


def loads(benchmark, model):
    return [closed(concurrency) for concurrency in benchmark.options.concurrency] + list(model.facts["rates"])


def _labels(model):
    """Of the sides that were measured, by name."""
    names = {"lockstep": "**Lockstep**", **PEERS}
    return {side: names[side] for side in model.facts["versions"] if side not in model.facts["unavailable"]}


def figures_table(benchmark, model):
    header = ["load", "system", "output tokens/s", "first token p50, ms", "p99, ms", "per token p50, ms", "inter-token p50, ms", "p99, ms", "CPU ms/token"]
    rows = []
    for load in loads(benchmark, model):
        for side, label in _labels(model).items():
            series = lambda field: benchmark.results.series(field, model.name, load, side)  # noqa: B023, E731
            cells = [spread([value * factor for value in series(field)], "{:.1f}") for field, _, factor, _ in FIGURES]
            cpu = [1e3 * c / t for c, t in zip(series("cpu_seconds"), series("output_tokens"))]
            rows.append([load, label, *cells, spread(cpu, "{:.2f}")])
    return table(header, rows)


def ratios(benchmark, model):
    """(load, peer's side, {field: times better})."""
    for load in loads(benchmark, model):
        for side in _labels(model):
            if side != "lockstep":
                yield load, side, {
                    field: times_better(benchmark.results, field, higher, model.name, load, side) for field, _, _, higher in FIGURES
                }


def _times(value):
    return "unmeasured" if value is None else f"**{value:.2f} ×**" if value < TIE else f"{value:.2f} ×"


def ratio_table(benchmark, model):
    rows = [[load, PEERS[side], *(_times(found[field]) for field, *_ in FIGURES)] for load, side, found in ratios(benchmark, model)]
    if not rows:
        return "Unmeasured: no peer ran."
    return table(["load", "Lockstep against", *(name for _, name, _, _ in FIGURES)], rows)


def behind_text(benchmark, model):
    found = [
        f"{name} at {load}: {values[field]:.2f} × of {PEERS[side]}"
        for load, side, values in ratios(benchmark, model)
        for field, name, _, _ in FIGURES
        if values[field] is not None and values[field] < TIE
    ]
    return "Lockstep is behind in: " + "; ".join(found) + "." if found else "Lockstep is behind in none of them."


def agreement_text(model):
    found = model.facts["agreement"]
    if "uncompared" in found:
        return f"not compared: {found['uncompared']}"
    if not found["same_as_lockstep"]:
        return "not compared: one system alone was measured"
    parts = [f"{same} of {found['num_answers']} equal to those of {PEERS[side]}" for side, same in found["same_as_lockstep"].items()]
    return f"greedy answers of {found['tokens']} tokens in float32, before anything was timed: " + ", ".join(parts)


def _systems_text(benchmark, model):
    lines = [f"- {_labels(model)[side]}: {version}; `{model.facts['commands'][side]}`; {model.facts['memory_bytes'][side] / 1e9:.2f} GB resident in the end"
             for side, version in model.facts["versions"].items() if side in _labels(model)]  # fmt: skip
    lines += [f"- {PEERS[side]}: **not measured**: {reason}" for side, reason in model.facts["unavailable"].items()]
    lines += [f"- {PEERS[side]}: not asked for (`--sides`)" for side in PEERS if side not in benchmark.options.sides]
    return "\n".join(lines)


def model_section(benchmark, model):
    config = model.facts["config"]
    rates = "; ".join(f"{load}: {rate:.2f} requests/s" for load, rate in model.facts["rates"].items())
    return [
        f"## {model.name}",
        f"{config['num_hidden_layers']} layers, hidden size {config['hidden_size']}, {config['num_attention_heads']}/{config['num_key_value_heads']} heads, "
        f"vocabulary {config['vocab_size']}, bfloat16. {rates}. The same work: {agreement_text(model)}.",
        _systems_text(benchmark, model),
        figures_table(benchmark, model),
        "How many times as good Lockstep's figures are (more than 1: Lockstep is better; **bold**: it is behind):",
        ratio_table(benchmark, model),
        behind_text(benchmark, model),
    ]  # fmt: skip


def machine_text(benchmark, facts, command):
    others, options = benchmark.others_share, benchmark.options
    quiet = "" if others <= MAX_QUIET_SHARE else "; **figures are distorted**: repeat this on a quiet machine"
    return "\n".join([
        f"- {facts['date']}, commit {facts['commit']}: `{command}`",
        f"- {facts['cpu']}, {options.cores} of {facts['cores']} cores used by each system **and its client together**, "
        f"{' '.join(facts['isa']) or 'no vector extensions'}, {facts['memory_bytes'] / 2**30:.0f} GiB memory, Linux {facts['kernel']}; a shared virtual machine",
        f"- prompts of {options.input_len} ± 50 % and answers of {options.output_len} ± 50 % tokens, greedy, end of sequence ignored",
        f"- {options.repeats} interleaved round{'' if options.repeats == 1 else 's'}; figures are medians over the rounds (in brackets the range), ratios are medians of each round's ratio",
        f"- other processes took {others:.0%} of the machine's CPU time meanwhile{quiet}",
    ])  # fmt: skip


def markdown(benchmark, facts, command):
    sections = [
        "# Serving, beside transformers' continuous batching and llama.cpp's server",
        "Written by `scripts/bench serve`; [README.md](README.md) says what each figure means. [serving.json](serving.json) has every single measurement.",
        "![Chart of the figures below](serving.svg)",
        "## What was run", machine_text(benchmark, facts, command),
    ]  # fmt: skip
    for model in benchmark.models:
        sections += model_section(benchmark, model)
    return "\n\n".join(sections) + "\n"


def svg(benchmark, facts):
    panels = []
    for model in benchmark.models:
        groups = [closed(concurrency) for concurrency in benchmark.options.concurrency]
        series = []
        for side, label in {"lockstep": "Lockstep", **PEERS}.items():
            values = [benchmark.results.series("output_tokens_per_second", model.name, group, side) for group in groups]
            series.append({"label": label, "side": side, "values": [median(v) if v else None for v in values]})
        panels.append({"title": model.name, "unit": "output tokens per second; higher is better", "groups": groups, "series": series})
    others = benchmark.others_share
    caveat = f" · other processes took {others:.0%} of the machine: repeat when quiet" if others > MAX_QUIET_SHARE else ""
    subtitle = f"bfloat16 · {facts['cpu']}, {benchmark.options.cores} cores for server and client · {facts['date'][:10]} · medians{caveat}"
    return chart.draw("Requests answered together", subtitle, panels)
