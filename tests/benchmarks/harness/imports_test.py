"""Every module that a benchmark's program imports is there: a file of its folder or of tests/benchmarks, Python's own, or a package.

What runs for minutes or needs packages is run by people, and would otherwise tell them that a file has moved.
"""

import ast
import pathlib
import sys
import unittest

BENCHMARKS = pathlib.Path(__file__).resolve().parent.parent
# Of .deps/clients and .deps/reference; lockstep and google.rpc are generated.
PACKAGES = {"google", "grpc", "grpc_tools", "lockstep", "numpy", "safetensors", "tokenizers", "torch", "transformers", "gguf"}


def imported(tree):
    """(module, names from it) of each import; no names for a whole module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module, [alias.name for alias in node.names]


def find(module, folder):
    """The module's file, or its package's folder; None if there is neither."""
    for root in (folder, BENCHMARKS):
        path = root.joinpath(*module.split("."))
        if path.with_suffix(".py").is_file():
            return path.with_suffix(".py")
        if path.is_dir():
            return path
    return None


def problem(module, names, folder):
    if module.split(".")[0] in sys.stdlib_module_names | PACKAGES:
        return None
    path = find(module, folder)
    if path is None:
        return f"no module {module}"
    if path.is_dir():
        return next((f"no {name} in {module}" for name in names if find(f"{module}.{name}", folder) is None), None)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    defined = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    defined |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    return next((f"no {name} in {module}" for name in names if name not in defined), None)


class ImportsTest(unittest.TestCase):
    def test_what_is_imported_is_there(self):
        programs = sorted(BENCHMARKS.rglob("*.py"))
        self.assertGreater(len(programs), 20)
        problems = []
        for program in programs:
            for module, names in imported(ast.parse(program.read_text(encoding="utf-8"))):
                found = problem(module, names, program.parent)
                if found is not None:
                    problems.append(f"{program.relative_to(BENCHMARKS)}: {found}")
        self.assertEqual(problems, [])

    def test_what_is_missing_is_found(self):
        self.assertEqual(problem("chart", [], BENCHMARKS / "simulation"), "no module chart")
        self.assertEqual(problem("harness", ["chart", "nothing"], BENCHMARKS), "no nothing in harness")
        self.assertEqual(problem("harness.chart", ["draw", "paint"], BENCHMARKS), "no paint in harness.chart")
        self.assertIsNone(problem("json", ["loads"], BENCHMARKS))


if __name__ == "__main__":
    unittest.main(verbosity=2)
