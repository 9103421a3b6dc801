"""What the benchmarks of whole systems share; scripts/bench puts the folder above on PYTHONPATH."""

import os

# What is measured runs on this machine: no proxy that the environment names is in between. gRPC and urllib would send
# 127.0.0.1 there too.
for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
    os.environ[name] = f"127.0.0.1,localhost,{os.environ.get(name, '')}"
