"""The scripts, in a tree of their own, with stand-ins for the programs that install and build. Nothing is downloaded.

    scripts_test.py SOURCE_DIR
"""

import contextlib
import fcntl
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

SOURCE = pathlib.Path()
TIMEOUT = 60

# Each notes its call in $CALLS.
STAND_INS = {
    "cmake": r"""[ -z "${CMAKE_FAILS:-}" ] || exit 1
        echo "CMAKE_HOME_DIRECTORY:INTERNAL=$PWD" >"build/$2/CMakeCache.txt"; touch "build/$2/build.ninja" """,
    "ninja": r"""printf '%s\n' "${NINJA_SAYS:-}"; exit "${NINJA_STATUS:-0}" """,
    "uname": "echo ${MACHINE:-x86_64}",
    "cargo": "echo cargo ${CARGO_VERSION:-1.999.0} '(0123456 2026-01-01)'",
    "dpkg-query": "printf installed",
    # venv: an environment whose Python can do everything.
    "python3": r"""[ "$2" != venv ] || { mkdir -p "$3/bin"; printf '#!/bin/sh\necho "python $*" >>"$CALLS"\n' >"$3/bin/python"
        chmod +x "$3/bin/python"; }""",
    "unzip": r"""mkdir -p "${!#}/torch/lib" """,
    "sleep": ":",
}


class Directory:
    """Opened, so that it can be locked."""

    def __init__(self, path):
        self.descriptor = os.open(path, os.O_RDONLY)

    def fileno(self):
        return self.descriptor

    def close(self):
        os.close(self.descriptor)


class ScriptsTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = pathlib.Path(directory.name)
        self.tree = self.root / "a tree"
        shutil.copytree(SOURCE / "scripts", self.tree / "scripts")
        for name in ["CMakePresets.json", "cmake/requirements-build.txt", "server/text/Cargo.toml"]:
            (self.tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(SOURCE / name, self.tree / name)
        for name, program in STAND_INS.items():
            self.stand_in(name, program)

    def stand_in(self, name, program):
        self.write(self.root / "bin" / name, f'#!/bin/bash\necho "{name} $*" >>"$CALLS"\n{program}\n')

    @staticmethod
    def write(path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def environment(self, **variables):
        return {"PATH": f"{self.root}/bin:/usr/bin:/bin", "CALLS": str(self.root / "calls"), "GIT_CONFIG_GLOBAL": "/dev/null",
                **variables}

    def run_script(self, *command, tree=None, **variables):
        return subprocess.run(["bash", *command], cwd=tree or self.tree, env=self.environment(**variables), timeout=TIMEOUT,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    BUILD = ["-euo", "pipefail", "-c", "for part in log lock build; do . scripts/lib/$part.sh; done; build release a-target"]

    def build(self, **options):
        return self.run_script(*self.BUILD, **options)

    def calls(self, name):
        """The arguments of the calls since the last look."""
        path = self.root / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [line.removeprefix(name + " ") for line in lines if line.startswith(name + " ")]

    def test_a_build_folder_is_configured_once_and_when_the_presets_change(self):
        for expected in [["--preset release"], []]:
            self.assertEqual(self.build().returncode, 0)
            self.assertEqual(self.calls("cmake"), expected)
        os.utime(self.tree / "CMakePresets.json")
        self.assertEqual(self.build().returncode, 0)
        self.assertEqual(self.calls("cmake"), ["--preset release"])

    def test_a_tree_that_was_copied_builds_itself(self):
        self.build()
        copy = self.root / "a copy"
        shutil.copytree(self.tree, copy)
        self.calls("cmake")
        for expected in [["--preset release --fresh"], []]:
            self.assertEqual(self.build(tree=copy).returncode, 0)
            self.assertEqual(self.calls("cmake"), expected)

    def test_what_could_not_be_configured_is_not_built(self):
        self.build()
        os.utime(self.tree / "CMakePresets.json")
        self.calls("ninja")
        for _ in range(2):
            failed = self.build(CMAKE_FAILS="1")
            self.assertEqual((failed.returncode, self.calls("ninja")), (1, []))
            self.assertIn("error: cmake failed", failed.stderr)

    def test_a_build_that_fails_says_why(self):
        for reason in ["ninja: error: loading 'build.ninja': No such file", "FAILED: a.o\na.cc:1: error: what is wrong"]:
            failed = self.build(NINJA_SAYS=reason, NINJA_STATUS="1")
            self.assertEqual(failed.returncode, 1)
            self.assertIn(reason, failed.stderr)
            self.assertIn("error: the build failed", failed.stderr)

    def test_two_runs_at_once_work_one_after_the_other(self):
        for command, lock, begun in [(self.BUILD, "build/release", "ninja"), (["scripts/setup"], ".deps", "dpkg-query")]:
            (self.tree / lock).mkdir(parents=True)
            with contextlib.closing(Directory(self.tree / lock)) as held:
                fcntl.flock(held, fcntl.LOCK_EX)
                run = subprocess.Popen(["bash", *command], cwd=self.tree, env=self.environment(), stderr=subprocess.PIPE, text=True)
                self.assertIn(f"waiting for another run, which has {lock}", run.stderr.readline())
                self.assertEqual(self.calls(begun), [])
            _, error = run.communicate(timeout=TIMEOUT)
            self.assertEqual(run.returncode, 0, error)
            self.assertNotEqual(self.calls(begun), [])

    def test_what_a_build_leaves_behind_does_not_hold_its_lock(self):
        self.stand_in("ninja", "/bin/sleep 5 >/dev/null 2>&1 &")
        self.assertEqual(self.build().returncode, 0)
        with contextlib.closing(Directory(self.tree / "build/release")) as free:
            fcntl.flock(free, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def test_format_fails_where_git_knows_no_files(self):
        self.write(self.tree / ".deps/clients/bin/python", "#!/bin/sh\n")
        failed = self.run_script("scripts/format", "--check")
        self.assertEqual(failed.returncode, 1)
        self.assertIn("git", failed.stderr)

    def test_setup_names_a_machine_or_a_cargo_that_will_not_do(self):
        for variables, reason in [({"MACHINE": "aarch64"}, "this is a aarch64 machine"),
                                  ({"CARGO_VERSION": "1.63.0"}, "cargo is version '1.63.0', and server/text needs 1.")]:
            failed = self.run_script("scripts/setup", **variables)
            self.assertEqual(failed.returncode, 1)
            self.assertIn(reason, failed.stderr)
            self.assertEqual(self.calls("unzip"), [])

    def test_setup_makes_an_environment_that_does_not_work_anew(self):
        self.assertEqual(self.run_script("scripts/setup").returncode, 0)
        environment = self.tree / ".deps/clients"
        (environment / "kept").touch()
        self.assertEqual(self.run_script("scripts/setup").returncode, 0)
        self.assertTrue((environment / "kept").exists(), "it works")
        self.calls("python")
        self.write(environment / "bin/python", "#!/bin/sh\nexit 1\n")
        self.assertEqual(self.run_script("scripts/setup").returncode, 0)
        self.assertFalse((environment / "kept").exists())
        self.assertTrue(any("pip install" in call for call in self.calls("python")))

    def test_setup_unpacks_beside_nothing_that_was_left(self):
        self.write(self.tree / ".deps/unpacked/torch/lib/left", "")
        self.assertEqual(self.run_script("scripts/setup").returncode, 0)
        self.assertTrue((self.tree / ".deps/libtorch/lib").is_dir())
        self.assertFalse((self.tree / ".deps/libtorch/lib/left").exists())

    def demo(self, server):
        binaries = self.tree / "build/release/bin"
        self.write(binaries / "lockstep-server", "#!/bin/bash\n" + server)
        self.write(binaries / "lockstep", "#!/bin/bash\necho an answer\n")
        return self.run_script("scripts/demo")

    def test_the_demo_waits_as_long_as_its_server_starts(self):
        done = self.demo("""for _ in $(seq 3000); do [ "$(grep -c ^sleep "$CALLS")" -lt 320 ] || break; /bin/sleep 0.01; done
            echo "lockstep-server listening on 127.0.0.1:1, metrics on 127.0.0.1:2"; exec /bin/sleep 60""")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("an answer", done.stdout)
        for seconds in [10, 20, 30]:
            self.assertIn(f"still starting after {seconds} s", done.stderr)

    def test_the_demo_shows_why_its_server_ended(self):
        failed = self.demo("echo what is wrong >&2; exit 2")
        self.assertEqual(failed.returncode, 1)
        self.assertRegex(failed.stderr, "what is wrong\nerror: the server did not start")

    def test_gpu_check_unpacks_again_what_was_unpacked_in_part(self):
        self.write(self.tree / "gpu-check/bin/lockstep-server", "")
        (self.tree / "build").mkdir()
        subprocess.run(["tar", "-cJf", "build/gpu-check.tar.xz", "gpu-check"], cwd=self.tree, check=True)
        self.stand_in("tar", 'mkdir -p "$2/gpu-check/bin"; exit 1')
        self.assertNotEqual(self.run_script("scripts/gpu-check").returncode, 0)
        (self.root / "bin/tar").unlink()
        done = self.run_script("scripts/gpu-check")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("-m gpu_check.main --bin build/gpu-check/bin", self.calls("python3"))

    def test_format_leaves_out_a_file_that_was_deleted(self):
        for name in ["kept.cc", "deleted.cc"]:
            self.write(self.tree / name, "")
        for command in [["init", "--quiet"], ["add", "kept.cc", "deleted.cc"]]:
            subprocess.run(["git", *command], cwd=self.tree, env=self.environment(), check=True)
        (self.tree / "deleted.cc").unlink()
        # As clang-format: a file that is not there is an error.
        self.write(self.tree / ".deps/clients/bin/python", '#!/bin/sh\nfor name; do case $name in *.cc) [ -f "$name" ] || exit 1 ;; esac; done\n')
        done = self.run_script("scripts/format", "--check")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("1 C++ files are formatted", done.stderr)


if __name__ == "__main__":
    SOURCE = pathlib.Path(sys.argv[1])
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)
