"""From single measurements to the figures that are reported."""

from statistics import median


class Results:
    """Every measurement as it was taken; rounds are what pairs the systems."""

    def __init__(self):
        self.measurements = []

    def record(self, kind, system, **values):
        values.pop("token_ids", None)
        key = (kind, system.name, values["batch_size"], values.get("all_positions"))
        number = sum(self._key(m) == key for m in self.measurements)
        self.measurements.append({"kind": kind, "system": system.name, "round": number, **values})

    @staticmethod
    def _key(measurement):
        return (measurement["kind"], measurement["system"], measurement["batch_size"], measurement.get("all_positions"))

    def series(self, field, kind, system, batch_size, all_positions=None):
        """One value per round, in order; empty if it was not measured."""
        key = (kind, system, batch_size, all_positions)
        return [m[field] for m in self.measurements if self._key(m) == key and field in m]


def paired_ratio(numerators, denominators):
    """Median of the rounds' ratios: both sides of a ratio met the same neighbours. None where a side is missing."""
    if not numerators or not denominators:
        return None
    return median(a / b for a, b in zip(numerators, denominators, strict=True))


def ratios(results, kind, numerator, denominator, batch_size, all_positions=None):
    """How many times as fast the second system is by its time, or the first by its speed: by wall clock, by the best of
    all rounds, and by CPU time."""
    field = "seconds" if kind == "forward" else "tokens_per_second"
    best = min if kind == "forward" else max
    above, below = (results.series(field, kind, name, batch_size, all_positions) for name in (numerator, denominator))
    cpu = [results.series("cpu_seconds", kind, name, batch_size, all_positions) for name in (numerator, denominator)]
    cpu = cpu if kind == "forward" else cpu[::-1]
    return {
        "wall": paired_ratio(above, below),
        "best": best(above) / best(below) if above and below else None,
        "cpu": paired_ratio(*cpu),
    }


def forward_operations(config, sequence_length, all_positions):
    """Multiplications and additions of one prompt's forward pass: the projections, the causal half of attention, the head."""
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    head_dim = config.get("head_dim") or hidden // heads
    kv_heads = config.get("num_key_value_heads", heads)
    weights = hidden * head_dim * (2 * heads + 2 * kv_heads) + 3 * hidden * config["intermediate_size"]
    layer = 2 * sequence_length * weights + 2 * sequence_length * (sequence_length + 1) * heads * head_dim
    head = 2 * (sequence_length if all_positions else 1) * hidden * config["vocab_size"]
    return config["num_hidden_layers"] * layer + head


def memory_against_share(ranks):
    """Worst rank: proportional resident memory over what the rank says it holds (weights and KV cache)."""
    return max(rank["pss"] / (rank["weight_bytes"] + rank["kv_cache_bytes"]) for rank in ranks)


def targets(options, results, measured):
    """The project's aims for this machine: (what, aim, measured or None, reached)."""
    ranks = 2 if 2 in options.ranks else max(options.ranks)
    ours, peer = (f"{side}-{ranks}x{options.cores // ranks}" for side in ("lockstep", "transformers"))
    where = f"{ranks} ranks × {options.cores // ranks} thread{'s' if options.cores // ranks > 1 else ''}"
    rows = []

    def add(what, aim, value, reached):
        rows.append({"what": what, "aim": aim, "value": value, "reached": None if value is None else bool(reached(value))})

    for batch_size in options.batch_sizes:
        for all_positions in (True, False):
            value = ratios(results, "forward", peer, ours, batch_size, all_positions)["wall"]
            kind = "all positions" if all_positions else "last position"
            add(f"{options.sequence_length}-token forward, batch {batch_size}, {kind}, {where}: times as fast as transformers' tensor parallelism",
                "≥ 3", value, lambda v: v >= 3)  # fmt: skip
    for batch_size in options.decode_batch_sizes:
        aim = 1.5 if batch_size == 1 else None
        value = ratios(results, "decode", ours, peer, batch_size)["wall"]
        if aim:
            add(f"decode, batch {batch_size}, {where}: times as fast as transformers' tensor parallelism", "≥ 1.5", value, lambda v: v >= 1.5)
    overhead = measured["overhead"].get(ours, {}).get("overhead_seconds_per_token")
    value = None if overhead is None else overhead * 1e3
    add(f"frontend's overhead per token in ms, {where}, {options.streams} streams", "< 0.5", value, lambda v: v < 0.5)
    for name, seconds in measured["start_seconds"].items():
        add(f"start of {name} until it serves, checkpoint in the page cache, in s", "< 5", median(seconds), lambda v: v < 5)
    for name, memory in measured["memory"].items():
        value = memory_against_share(memory["after_generating"])
        add(f"memory per rank of {name} after generating, over its weights and KV cache", "≤ 1.15", value, lambda v: v <= 1.15)
    return rows
