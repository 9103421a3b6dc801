"""What a person sees while a benchmark runs."""

import sys
import time


def say(text):
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)
