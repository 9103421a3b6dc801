"""Types of command-line options; argparse names a type by its function's name."""


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
