"""A lockstep-server process with its workers, and a channel to it whose messages come from the server itself."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time

import google
import grpc
import grpc_tools
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_tools import protoc

START_SECONDS = 120
LOG_SECONDS = 60
LONG_CONTEXT = 32768


def with_long_context(model_dir, directory):
    """A copy of a checkpoint whose answers go on for longer than any test looks at them, unless they end by themselves.

    Its path, inside `directory`. For tests that do something to an answer before it is complete.
    """
    copy = os.path.join(directory, os.path.basename(os.path.normpath(model_dir)))
    shutil.copytree(model_dir, copy)
    path = os.path.join(copy, "config.json")
    with open(path, encoding="utf-8") as file:
        config = json.load(file)
    config["max_position_embeddings"] = LONG_CONTEXT
    with open(path, "w", encoding="utf-8") as file:
        json.dump(config, file)
    return copy


class RunningServer:
    """Starts on ports of the system's choice, unless told otherwise; use as a context manager."""

    def __init__(self, binary, model_dir, *arguments, listen="127.0.0.1:0", ranks=2):
        command = [binary, "--model", model_dir, "--listen", listen, "--metrics-listen", "127.0.0.1:0",
                   "--tensor-parallel-size", str(ranks), "--threads-per-rank", "1", *arguments]
        # Its options are those given here: none from the environment of whoever runs the tests.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LOCKSTEP_")}
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        self._log = []
        self._log_grew = threading.Condition()
        self._log_reader = threading.Thread(target=self._read_log, daemon=True)
        self._log_reader.start()
        watchdog = threading.Timer(START_SECONDS, self._process.kill)
        watchdog.start()
        line = self._process.stdout.readline()
        watchdog.cancel()
        found = re.match(r"lockstep-server listening on (\S+), metrics on (\S+)$", line)
        if not found:
            self._process.kill()
            raise RuntimeError("the server did not start:\n" + self.log())
        self.address, self.metrics_address = found.groups()
        self.channel = grpc.insecure_channel(self.address)

    def _read_log(self):
        for line in self._process.stderr:
            with self._log_grew:
                self._log.append(line)
                self._log_grew.notify_all()

    def log(self):
        """What has been read of its log. A line may come later than what it tells of: see wait_for_log."""
        with self._log_grew:
            return "".join(self._log)

    def wait_for_log(self, text, count=1):
        """The first `count` lines with the text, as soon as there are so many."""
        deadline = time.monotonic() + LOG_SECONDS
        with self._log_grew:
            while True:
                lines = [line for line in self._log if text in line]
                if len(lines) >= count:
                    return lines[:count]
                if not self._log_grew.wait(deadline - time.monotonic()):
                    raise AssertionError(f"{len(lines)} of {count} lines with {text!r} in:\n" + "".join(self._log))

    def stop(self):
        """SIGTERM; the exit status."""
        self.channel.close()
        self._process.terminate()
        try:
            return self._process.wait(timeout=60)
        finally:
            self._process.kill()
            self._log_reader.join(timeout=10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._process.poll() is None:
            self.stop()


def generated_modules(proto_dir, google_dir, out_dir):
    """The modules that a client's author makes from the .proto files, by name (generate_pb2, status_pb2, ...)."""
    well_known = os.path.join(os.path.dirname(grpc_tools.__file__), "_proto")
    names = [f"lockstep/v1/{name}.proto" for name in ["prompt", "generate", "inference", "admin"]]
    names += ["google/rpc/status.proto", "google/rpc/error_details.proto"]
    status = protoc.main(["protoc", f"-I{proto_dir}", f"-I{google_dir}", f"-I{well_known}", f"--python_out={out_dir}",
                          f"--grpc_python_out={out_dir}", *names])
    if status != 0:
        raise RuntimeError("protoc failed")
    sys.path.insert(0, out_dir)
    # google is a namespace package, of which a part is loaded already.
    google.__path__.append(os.path.join(out_dir, "google"))
    modules = ["lockstep.v1.prompt_pb2", "lockstep.v1.generate_pb2", "lockstep.v1.inference_pb2",
               "lockstep.v1.inference_pb2_grpc", "lockstep.v1.admin_pb2", "lockstep.v1.admin_pb2_grpc",
               "google.rpc.status_pb2", "google.rpc.error_details_pb2"]
    return {name.rsplit(".", 1)[1]: importlib.import_module(name) for name in modules}


def message_class_by_reflection(channel, name):
    """The class of a message that only the server described."""
    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    return GetMessageClass(pool.FindMessageTypeByName(name))
