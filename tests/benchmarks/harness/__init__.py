"""What the benchmarks of whole systems share; scripts/bench puts the folder above on PYTHONPATH."""
