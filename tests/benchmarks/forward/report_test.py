"""Checks what the report is made of, without a model: PYTHONPATH=tests/benchmarks python3 tests/benchmarks/forward/report_test.py"""

import contextlib
import io
import pathlib
import types
import unittest
import xml.etree.ElementTree

import measure
import options as command_line
import report
from harness.children import BenchmarkError
from summary import Results, paired_ratio, ratios, targets


def make_options():
    return types.SimpleNamespace(
        ranks=[1, 2], cores=2, batch_sizes=[1, 4], decode_batch_sizes=[1], sequence_length=512, streams=32, model=pathlib.Path("some-model"), page="forward",
        config={"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100},
    )  # fmt: skip


def make_systems():
    return [
        types.SimpleNamespace(side=side, name=f"{side}-{ranks}x{2 // ranks}", num_ranks=ranks, threads_per_rank=2 // ranks)
        for ranks in (2, 1)
        for side in ("lockstep", "transformers")
    ]


def fill(results, systems):
    """Three rounds, each slower than the one before on both sides alike; the reference takes four times as long."""
    for slowdown in (1.0, 2.0, 3.0):
        for system in systems:
            factor = slowdown * (4.0 if system.side == "transformers" else 1.0)
            for size in (1, 4):
                for all_positions in (True, False):
                    results.record("forward", system, batch_size=size, all_positions=all_positions, seconds=factor * size, cpu_seconds=2 * factor)
            results.record("decode", system, batch_size=1, tokens_per_second=20 / factor, cpu_seconds=factor)


class SummaryTest(unittest.TestCase):
    def test_a_ratio_pairs_measurements_of_the_same_round(self):
        self.assertEqual(paired_ratio([4.0, 40.0, 8.0], [1.0, 10.0, 2.0]), 4.0)

    def test_a_ratio_with_a_missing_side_is_unmeasured(self):
        self.assertIsNone(paired_ratio([], [1.0]))

    def test_a_ratio_over_one_means_lockstep_is_faster_in_forward_and_decode(self):
        results = Results()
        fill(results, make_systems())
        forward = ratios(results, "forward", "transformers-2x1", "lockstep-2x1", 4, True)
        decode = ratios(results, "decode", "lockstep-2x1", "transformers-2x1", 1)
        self.assertEqual(forward, {"wall": 4.0, "best": 4.0, "cpu": 4.0})
        self.assertEqual(decode, {"wall": 4.0, "best": 4.0, "cpu": 4.0})

    def test_an_aim_without_a_measurement_is_neither_reached_nor_missed(self):
        rows = targets(make_options(), Results(), {"overhead": {}, "start_seconds": {}, "memory": {}})
        self.assertEqual({row["reached"] for row in rows}, {None})

    def test_the_aim_for_starts_is_held_against_their_median(self):
        rows = targets(make_options(), Results(), {"overhead": {}, "start_seconds": {"lockstep-2x1": [9.0, 1.0, 6.0]}, "memory": {}})
        self.assertEqual([(row["value"], row["reached"]) for row in rows if row["what"].startswith("start of")], [(6.0, False)])


class AgreementTest(unittest.TestCase):
    noise = {"relative_error": 0.02, "largest_difference": 0.1}

    def test_other_logits_are_refused(self):
        found = measure.agreement([[1.0, 2.0, 9.0]], [[1.0, 2.0, 3.0]])
        with self.assertRaisesRegex(BenchmarkError, "does not compute what the reference does"):
            measure.check_agreement({"ours": found}, self.noise)

    def test_logits_that_are_not_numbers_are_refused(self):
        found = measure.agreement([[1.0, float("nan"), 3.0]], [[1.0, 2.0, 3.0]])
        with self.assertRaises(BenchmarkError):
            measure.check_agreement({"ours": found}, self.noise)

    def test_another_choice_is_refused_unless_float32_finds_it_as_good(self):
        measure.check_agreement({"ours": measure.agreement([[1.0, 2.96, 2.95]], [[1.0, 2.94, 2.96]])}, self.noise)
        with self.assertRaisesRegex(BenchmarkError, "chooses a token"):
            measure.check_agreement({"ours": {**self.noise, "argmax_deficit": 0.5}}, self.noise)


class ReportTest(unittest.TestCase):
    machine = {
        "date": "2026-01-02 03:04 UTC", "commit": "abc", "cpu": "Some & CPU", "cores": 2, "isa": ["avx2"], "memory_bytes": 1 << 34,
        "kernel": "6", "niceness": 0,
    }  # fmt: skip
    measured = {"rounds": 3, "others_share": 0.0, "memory": {}, "start_seconds": {}, "peer_load_seconds": {}, "overhead": {}}

    def test_the_page_names_what_was_not_measured(self):
        page = report.markdown(make_systems(), make_options(), Results(), self.measured, self.machine, "scripts/bench forward")
        self.assertIn("| unmeasured | unmeasured |", page)
        self.assertIn("![Chart of the figures below](forward.svg)", page)
        self.assertNotIn("None", page)

    def test_the_chart_is_well_formed_and_shows_each_value(self):
        systems, results = make_systems(), Results()
        fill(results, systems)
        text = report.svg(systems, make_options(), results, self.measured, self.machine)
        xml.etree.ElementTree.fromstring(text)
        self.assertEqual(text.count("<rect"), 1 + 4 * 2 + 4 + 4)  # background, two groups, one group, legend
        self.assertIn(">32.0<", text)


class OptionsTest(unittest.TestCase):
    def refused(self, *arguments):
        with contextlib.redirect_stderr(io.StringIO()) as stderr, self.assertRaises(SystemExit):
            command_line.parse_syntax(arguments)
        return stderr.getvalue()

    def test_wrong_options_are_named(self):
        self.assertIn("--batch-sizes", self.refused("--batch-sizes", "1,0"))
        self.assertIn("'llama'", self.refused("--sides", "llama"))
        self.assertIn("3 ranks do not divide 2 cores", self.refused("--cores", "2", "--ranks", "3"))
        self.assertIn("--decode-tokens", self.refused("--decode-tokens", "2"))
        self.assertIn("'../forward'", self.refused("--page", "../forward"))


if __name__ == "__main__":
    unittest.main()
