"""Wall and CPU seconds and peak memory of kf_predict on one file, from start to written label map.

    python tests/benchmarks/predict_one_case.py IMAGE -d DATASET [-n 3] [kf_predict options]

The environment must name the folders in which the configuration is trained.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("image", type=Path)
    parser.add_argument("-d", "--dataset", required=True)
    parser.add_argument("-n", "--runs", type=int, default=3)
    arguments, options = parser.parse_known_args()
    script = Path(sys.executable).parent / "kf_predict"
    for run in range(arguments.runs):
        with tempfile.TemporaryDirectory() as output:
            command = [script, "-i", arguments.image, "-o", output, "-d", arguments.dataset, *options]
            started = time.perf_counter()
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - started
            written = [p.name for p in Path(output).iterdir()]
        if status or not written:
            sys.exit(f"kf_predict failed with status {status}")
        peak = usage.ru_maxrss / 2**20
        cpu = usage.ru_utime + usage.ru_stime
        print(f"run {run + 1}: {seconds:.1f} s, CPU {cpu:.1f} s, largest process {peak:.2f} GiB, {written}")


if __name__ == "__main__":
    main()
