"""Types of command-line options; argparse names a type by its function's name."""

import pathlib

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]


def counts(text):
    values = [int(part) for part in text.split(",")]
    if not values or any(value < 1 for value in values) or len(set(values)) != len(values):
        raise ValueError
    return values


counts.__name__ = "list of different positive numbers, such as 1,2,4"


def count(text):
    value = int(text)
    if value < 1:
        raise ValueError
    return value


count.__name__ = "positive number"


def positive(text):
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError
    return value


positive.__name__ = "number above 0"


def add_output(parser, name):
    parser.add_argument("--output", type=pathlib.Path, metavar="DIR",
                        help=f"where {name}.md and .json go (default: docs/benchmarks; with other options than the defaults, build/bench)")


def output_directory(parser, options):
    """Where results go: the pages in docs/ are of the default options."""
    is_default = all(value == parser.get_default(name) for name, value in vars(options).items())
    directory = options.output or REPOSITORY / ("docs/benchmarks" if is_default else "build/bench")
    directory.mkdir(parents=True, exist_ok=True)
    return directory
