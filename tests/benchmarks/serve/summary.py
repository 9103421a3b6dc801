"""From arrivals of tokens to the figures that are reported."""

from statistics import median

# (field, how it is called, unit's factor, higher is better)
FIGURES = [
    ("output_tokens_per_second", "output tokens/s", 1, True),
    ("ttft_p50", "time to first token, p50", 1e3, False),
    ("ttft_p99", "time to first token, p99", 1e3, False),
    ("tpot_p50", "time per output token, p50", 1e3, False),
    ("itl_p50", "inter-token latency, p50", 1e3, False),
    ("itl_p99", "inter-token latency, p99", 1e3, False),
]


def percentile(values, share):
    """By linear interpolation between the closest ranks, as `lockstep bench serve` does. `values` are sorted."""
    place = share * (len(values) - 1)
    low = int(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (place - low)


def summarize(answers, seconds):
    """`answers`: for each request when it should have been sent and when each of its tokens came, in seconds: {"intended", "arrivals"}."""
    ttft = sorted(answer["arrivals"][0] - answer["intended"] for answer in answers)
    tpot = sorted((times[-1] - times[0]) / (len(times) - 1) for times in (a["arrivals"] for a in answers) if len(times) > 1)
    gaps = sorted(b - a for answer in answers for a, b in zip(answer["arrivals"], answer["arrivals"][1:]))
    num_tokens = sum(len(answer["arrivals"]) for answer in answers)
    return {
        "seconds": seconds,
        "output_tokens": num_tokens,
        "output_tokens_per_second": num_tokens / seconds,
        "requests_per_second": len(answers) / seconds,
        "ttft_p50": percentile(ttft, 0.5),
        "ttft_p99": percentile(ttft, 0.99),
        "tpot_p50": percentile(tpot, 0.5) if tpot else 0.0,
        "itl_p50": percentile(gaps, 0.5) if gaps else 0.0,
        "itl_p99": percentile(gaps, 0.99) if gaps else 0.0,
    }


class Results:
    """Every measurement as it was taken."""

    def __init__(self):
        self.measurements = []

    def record(self, **values):
        self.measurements.append(values)

    def series(self, field, model, load, side):
        """One value per round, in order; empty if it was not measured."""
        return [m[field] for m in self.measurements if (m["model"], m["load"], m["side"]) == (model, load, side)]


def times_better(results, field, higher_is_better, model, load, side):
    """How many times as good Lockstep's figure is: the median of the rounds' ratios, so that both met the same neighbours. None if unmeasured."""
    ours, theirs = (results.series(field, model, load, name) for name in ("lockstep", side))
    if not ours or not theirs:
        return None
    pairs = zip(ours, theirs, strict=True) if higher_is_better else zip(theirs, ours, strict=True)
    return median(a / b if b > 0 else float("inf") for a, b in pairs)
