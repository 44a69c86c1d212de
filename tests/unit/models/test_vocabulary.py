"""Vocabularies, read in a process without usearch.

usearch brings a C++ library of its own, with which llama.cpp's readers of byte-level vocabularies
fail (`std::bad_cast`) in the same process. The gateway has one and the workers have the other; the
process of these tests has both.
"""

import os
import subprocess
import sys
from pathlib import Path


def test_vocabularies_are_read_as_llama_cpp_spells_them() -> None:
    checks = Path(__file__).with_name("vocabularies.py")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(checks)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert "9 passed" in done.stdout
