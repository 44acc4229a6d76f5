"""The allocator setting, in a process of its own because it can't be taken back."""

import subprocess
import sys

PROGRAM = """
import resource, torch
from csgnn_dgl.allocator import keep_large_blocks
kept = keep_large_blocks()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.empty(16 << 20, dtype=torch.uint8).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(kept, faults())
"""


def test_freed_blocks_are_used_again_without_page_faults() -> None:
    output = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout.split()
    if sys.platform.startswith("linux"):
        assert output[0] == "True"
        assert int(output[1]) < 20 * 100  # a fresh block of 16 MiB costs 4,096 faults, or 8 with huge pages
