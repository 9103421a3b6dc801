"""The page and the chart, from the results."""

from statistics import median

from harness import chart
from harness.tables import spread, table
from summary import forward_operations, ratios, targets

# More of the machine than this in others' hands, and wall-clock figures say little.
MAX_QUIET_SHARE = 0.05


def _times(value):
    return "unmeasured" if value is None else f"{value:.2f} ×"


def _ranks_text(system):
    plural = lambda n, what: f"{n} {what}{'' if n == 1 else 's'}"  # noqa: E731
    return f"{plural(system.num_ranks, 'rank')} × {plural(system.threads_per_rank, 'thread')}"


def label(system):
    if system.side == "lockstep":
        return f"Lockstep, {_ranks_text(system)}"
    if system.num_ranks == 1:
        return f"transformers, one process × {system.threads_per_rank} thread{'' if system.threads_per_rank == 1 else 's'}"
    return f'transformers, tp_plan="auto", {_ranks_text(system)}'


def forward_table(systems, options, results, all_positions):
    header = ["seconds"] + [f"batch {size}" for size in options.batch_sizes]
    rows = []
    for system in systems:
        series = [results.series("seconds", "forward", system.name, size, all_positions) for size in options.batch_sizes]
        rows.append([label(system)] + [spread(values, "{:.2f}") for values in series])
        if system.side == "lockstep":
            calls = [results.series("call_seconds", "forward", system.name, size, all_positions) for size in options.batch_sizes]
            rows.append(["… the whole call, logits received"] + [spread(values, "{:.2f}") for values in calls])
    return table(header, rows)


def limit_text(options, measured):
    """What no implementation on these cores could beat by much, so that the figures can be judged on any machine."""
    if not (rate := measured.get("gemm_rate")):
        return "The machine's limit: unmeasured, it is taken with the reference's library."
    operations = forward_operations(options.config, options.sequence_length, True)
    return (
        f"The machine's limit: one prompt's pass with all logits takes {operations / 1e12:.2f}·10¹² operations, and the reference's library (oneDNN) "
        f"multiplies matrices at {rate / 1e12:.2f}·10¹² per second on these {options.cores} cores, at its best of all tries in bfloat16 and float32: "
        f"**{operations / rate:.2f} s** if nothing else were to do."
    )


def decode_table(systems, options, results):
    header = ["tokens/s"] + [f"batch {size}" for size in options.decode_batch_sizes]
    rows = []
    for system in systems:
        series = [results.series("tokens_per_second", "decode", system.name, size) for size in options.decode_batch_sizes]
        rows.append([label(system)] + [spread(values, "{:.2f}") for values in series])
    return table(header, rows)


def ratio_table(systems, options, results):
    """Lockstep against each way that the reference has of using the same cores, and against itself with one rank."""
    ours = [system for system in systems if system.side == "lockstep"]
    header = ["times as fast", "by wall clock", "by each side's best round", "by CPU time"]
    rows = []
    for system in ours:
        for other in systems:
            if other is system or (other.side == "lockstep" and other.num_ranks > system.num_ranks):
                continue
            for kind, size, all_positions in _cases(options):
                pair = (other.name, system.name) if kind == "forward" else (system.name, other.name)
                found = ratios(results, kind, *pair, size, all_positions)
                what = {None: "decode", True: "forward, all positions", False: "forward, last position"}[all_positions]
                rows.append([f"{label(system)} : {label(other)}: {what}, batch {size}"] + [_times(found[k]) for k in ("wall", "best", "cpu")])
    return table(header, rows)


def _cases(options):
    for all_positions in (True, False):
        for size in options.batch_sizes:
            yield "forward", size, all_positions
    for size in options.decode_batch_sizes:
        yield "decode", size, None


def target_table(options, results, measured):
    verdict = {True: "yes", False: "**no**", None: "unmeasured"}
    rows = [
        [row["what"], row["aim"], "unmeasured" if row["value"] is None else f"{row['value']:.3g}", verdict[row["reached"]]]
        for row in targets(options, results, measured)
    ]
    return table(["figure", "aim", "measured", "reached"], rows)


def overhead_table(systems, options, measured):
    header = [f"{options.streams} streams", "tokens", "steps", "wall, s", "steps, s", "overhead per token, ms", "per step, ms", "frontend CPU per token, ms"]
    rows = []
    for system in systems:
        found = measured["overhead"].get(system.name)
        if not found:
            continue
        if "unmeasured" in found:
            rows.append([label(system), f"unmeasured: {found['unmeasured']}"] + [""] * 6)
            continue
        rows.append([
            label(system), str(found["tokens"]), str(found["steps"]), f"{found['wall_seconds']:.2f}", f"{found['step_seconds']:.2f}",
            f"{found['overhead_seconds_per_token'] * 1e3:.3f}", f"{found['overhead_seconds_per_step'] * 1e3:.2f}",
            f"{found['frontend_cpu_seconds_per_token'] * 1e3:.3f}",
        ])  # fmt: skip
    return table(header, rows) if rows else "Unmeasured."


def memory_table(systems, measured):
    def gib(value):
        return f"{value / 2**30:.3f}"

    rows = []
    for system in systems:
        memory = measured["memory"].get(system.name)
        if memory is None:
            continue
        for when in ("after_loading", "after_generating", "after_forward"):
            for rank in memory.get(when, []):
                share = rank["weight_bytes"] + rank["kv_cache_bytes"]
                rows.append([f"{label(system)}, rank {rank['rank']}, {when.replace('_', ' ')}", gib(rank["weight_bytes"]), gib(rank["kv_cache_bytes"]),
                             gib(rank["pss"]), gib(rank["rss"]), gib(rank["peak_rss"]), f"{rank['pss'] / share - 1:+.1%}"])  # fmt: skip
    return table(["GiB", "weights", "KV cache", "PSS", "RSS", "peak RSS", "PSS over share"], rows) if rows else "Unmeasured."


def start_table(systems, measured):
    rows = []
    for system in systems:
        if seconds := measured["start_seconds"].get(system.name):
            rows.append([label(system), ", ".join(f"{value:.2f}" for value in seconds), f"{measured['start_cpu_seconds'][system.name]:.2f}"])
    for system in systems:
        if seconds := measured["peer_load_seconds"].get(system.name):
            rows.append([f"{label(system)}: `from_pretrained` alone", f"{seconds:.2f}", ""])
    return table(["seconds", "each start", "CPU time of the last, all processes"], rows) if rows else "Unmeasured."


def agreement_table(systems, measured):
    found = measured.get("agreement")
    if not found:
        return "Unmeasured: float32 reference logits need the transformers side."
    rows = [
        [label(s), f"{a['relative_error']:.4f}", f"{a['largest_difference']:.3f}", f"{a['same_argmax']} of {a['num_prompts']}"]
        for s in systems
        if (a := found.get(s.name))
    ]
    return table(["last-position logits against float32", "relative RMS error", "largest difference", "same argmax"], rows)


def svg(systems, options, results, measured, machine):
    def series(field, kind, sizes, all_positions=None):
        entries = []
        for system in systems:
            values = [results.series(field, kind, system.name, size, all_positions) for size in sizes]
            entries.append({"label": label(system), "side": system.side, "values": [median(v) if v else None for v in values]})
        return entries

    forward = {
        "title": f"Forward pass, {options.sequence_length} tokens per prompt", "unit": "seconds, logits at every position; lower is better",
        "groups": [f"batch {size}" for size in options.batch_sizes],
        "series": series("seconds", "forward", options.batch_sizes, True),
    }  # fmt: skip
    decode = {
        "title": "Decode", "unit": "tokens per second, all streams; higher is better",
        "groups": [f"batch {size}" for size in options.decode_batch_sizes],
        "series": series("tokens_per_second", "decode", options.decode_batch_sizes),
    }  # fmt: skip
    others = measured["others_share"]
    caveat = f" · other processes took {others:.0%} of the machine: repeat when quiet" if others > MAX_QUIET_SHARE else ""
    subtitle = f"{options.model.name} in bfloat16 · {machine['cpu']}, {options.cores} cores · {machine['date'][:10]} · medians{caveat}"
    return chart.draw("Lockstep beside transformers' own tensor parallelism", subtitle, [forward, decode])


def markdown(systems, options, results, measured, machine, command):
    rounds, others = measured["rounds"], measured["others_share"]
    peers = measured.get("peer_versions")
    sections = [
        "# Forward pass and decoding, beside the reference",
        f"Written by `scripts/bench forward`; [README.md](README.md) says what each figure means. [{options.page}.json]({options.page}.json) has every single measurement.",
        f"![Chart of the figures below]({options.page}.svg)",
        "## Aims", target_table(options, results, measured),
        "## What was run",
        "\n".join([
            f"- {machine['date']}, commit {machine['commit']}: `{command}`",
            f"- {machine['cpu']}, {options.cores} of {machine['cores']} cores used by each system, {' '.join(machine['isa']) or 'no vector extensions'}, "
            f"{machine['memory_bytes'] / 2**30:.0f} GiB memory, Linux {machine['kernel']}, niceness {machine['niceness']}",
            f"- `{options.model.name}`: {options.config['num_hidden_layers']} layers, hidden size {options.config['hidden_size']}, "
            f"{options.config['num_attention_heads']}/{options.config['num_key_value_heads']} heads, vocabulary {options.config['vocab_size']}, bfloat16",
            f"- reference: {peers}" if peers else "- reference: unmeasured",
            f"- {rounds} interleaved round{'' if rounds == 1 else 's'}; figures are medians over the rounds (in brackets the range), ratios are medians of each round's ratio",
            f"- other processes took {others:.0%} of the machine's CPU time meanwhile" + ("; **wall-clock figures and their ratios are distorted**: go by CPU time, and repeat this on a quiet machine" if others > MAX_QUIET_SHARE else ""),
        ]),
        "### The same work on both sides", agreement_table(systems, measured),
        f"## Forward pass, {options.sequence_length} tokens per prompt", "Logits at every position, as `model(input_ids)` gives them:",
        forward_table(systems, options, results, True), limit_text(options, measured),
        "Logits at the last position alone:", forward_table(systems, options, results, False),
        "## Decode", decode_table(systems, options, results),
        "## Ratios", ratio_table(systems, options, results),
        "## Frontend overhead", overhead_table(systems, options, measured),
        "## Start", "From starting the server until it serves, the checkpoint in the page cache:", start_table(systems, measured),
        "## Memory of the workers", memory_table(systems, measured),
    ]  # fmt: skip
    return "\n\n".join(sections) + "\n"
