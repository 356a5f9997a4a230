"""Coverage-guided fuzzing of every reader of the ledger's formats, and of the second verifier.

No test runs this, and nothing of the project needs atheris. In a virtual environment of its own:

    python3.11 -m venv fuzzing && fuzzing/bin/pip install atheris cryptography
    PYTHONPATH=. fuzzing/bin/python tests/fuzz/fuzz_ledger.py -max_total_time=60 CORPUS

``CORPUS`` is a directory (made with ``mkdir``); the samples are put there first. The first byte
of an input chooses the reader. Whatever raises anything but a refusal of the ledger's own, and
whatever is read otherwise than it was written, ends the run with the input in ``crash-...``.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import atheris  # type: ignore[import-untyped]  # not installed beside the project

with atheris.instrument_imports(include=["settlement", "json", "base64"]):
    from tests.fuzz.ledger_readers import READERS, read

NAMES = sorted(READERS)
STANDALONE = Path(__file__).parents[2] / "docs" / "verify_ledger.py"


def standalone() -> ModuleType:
    """``docs/verify_ledger.py``."""
    spec = importlib.util.spec_from_file_location("verify_ledger", STANDALONE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


VERIFIER = standalone()
PARTS = (VERIFIER.Envelope, VERIFIER.protobuf, VERIFIER.canonical_json, VERIFIER.read_vkey)


def fuzz_once(data: bytes) -> None:
    """One input."""
    if not data:
        return
    number = data[0] % (len(NAMES) + len(PARTS))
    if number < len(NAMES):
        read(NAMES[number], data[1:])
        return
    try:
        part = PARTS[number - len(NAMES)]
        part(data[1:].decode() if part is VERIFIER.read_vkey else data[1:])
    except (VERIFIER.WrongError, *VERIFIER.CRASHES):
        return


def main() -> None:
    """Put the samples into the corpus and run."""
    folders = [Path(word) for word in sys.argv[1:] if not word.startswith("-")]
    for folder in folders[:1]:
        for number, name in enumerate(NAMES):
            (folder / f"sample-{name}").write_bytes(bytes([number]) + READERS[name][1])
    atheris.Setup(sys.argv, fuzz_once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
