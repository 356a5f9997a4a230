"""Generate the Python code of the wire from the .proto files, or compare it with the one on disk.

The proto package is the Python path (`iso_exchange.api.v1`), so the generated imports are right as
they are: nothing is rewritten. `make proto` writes into the source tree; `make check` calls this
with `--check`, which generates into a temporary directory and reports every file that differs, is
missing or is left over.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import grpc_tools

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path("iso_exchange/api")
SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")
PACKAGE_TEXT = '"""Generated from proto/ by `make proto`; never edited."""\n'


class GenerationError(Exception):
    """The .proto files are missing, or protoc refused them."""


def generate(*, proto: Path, output: Path) -> None:
    """Write messages, services and their stubs for every .proto file of the package.

    Args:
        proto: The folder that holds `iso_exchange/api/<version>/*.proto`.
        output: Receives `iso_exchange/api/<version>/*_pb2*.py*`; created when absent.

    Raises:
        GenerationError: There is nothing to generate from, or protoc refused a file.
    """
    sources = sorted(path.relative_to(proto) for path in (proto / PACKAGE).rglob("*.proto"))
    if not sources:
        message = f"no .proto file below {proto / PACKAGE}"
        raise GenerationError(message)
    output.mkdir(parents=True, exist_ok=True)
    scripts = Path(sysconfig.get_path("scripts"))
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        f"--proto_path={proto}",
        f"--proto_path={Path(grpc_tools.__file__).parent / '_proto'}",
        f"--plugin=protoc-gen-mypy={scripts / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={scripts / 'protoc-gen-mypy_grpc'}",
        f"--python_out={output}",
        f"--grpc_python_out={output}",
        f"--mypy_out=quiet:{output}",
        # The servers and clients of this project are asyncio only.
        f"--mypy_grpc_out=quiet,only_async:{output}",
        *map(str, sources),
    ]
    finished = subprocess.run(command, check=False, capture_output=True, text=True)
    if finished.returncode != 0:
        raise GenerationError(finished.stderr.strip() or f"protoc exited {finished.returncode}")
    for folder in {output / PACKAGE, *((output / source).parent for source in sources)}:
        (folder / "__init__.py").write_text(PACKAGE_TEXT, encoding="utf-8")


def differences(*, generated: Path, checked_in: Path) -> list[str]:
    """Compare two generated trees.

    Returns:
        One line for each file that differs, is missing or is left over; empty when the trees agree.
    """
    expected, found = _contents(generated), _contents(checked_in)
    lines = [f"{path}: missing" for path in sorted(expected.keys() - found.keys())]
    lines += [f"{path}: left over" for path in sorted(found.keys() - expected.keys())]
    common = sorted(expected.keys() & found.keys())
    lines += [f"{path}: differs" for path in common if expected[path] != found[path]]
    return lines


def remove_leftovers(*, proto: Path, output: Path) -> list[Path]:
    """Delete generated files whose .proto file is gone.

    Returns:
        The deleted files, in order.
    """
    removed = []
    for path in sorted((output / PACKAGE).rglob("*_pb2*.py*")):
        for suffix in SUFFIXES:
            if path.name.endswith(suffix):
                stem = path.name.removesuffix(suffix)
                source = proto / path.relative_to(output).with_name(f"{stem}.proto")
                if not source.exists():
                    path.unlink()
                    removed.append(path)
                break
    return removed


def main(arguments: list[str] | None = None) -> int:
    """Generate or compare; 0 when all is well."""
    parser = argparse.ArgumentParser(description="Generate the Python code of the wire.")
    parser.add_argument("--proto", type=Path, default=ROOT / "proto", help="default: proto/")
    parser.add_argument("--output", type=Path, default=ROOT, help="default: the source tree")
    parser.add_argument("--check", action="store_true", help="write nothing, compare with --output")
    chosen = parser.parse_args(arguments)
    proto, output = chosen.proto.resolve(), chosen.output.resolve()
    try:
        if chosen.check:
            return _check(proto=proto, output=output)
        generate(proto=proto, output=output)
    except GenerationError as error:
        print(f"generate: {error}", file=sys.stderr)
        return 1
    for path in remove_leftovers(proto=proto, output=output):
        print(f"removed {path.relative_to(output)}")
    return 0


def _check(*, proto: Path, output: Path) -> int:
    with tempfile.TemporaryDirectory(prefix="iso-proto-") as name:
        fresh = Path(name)
        generate(proto=proto, output=fresh)
        lines = differences(generated=fresh, checked_in=output)
    for line in lines:
        print(f"{line} (run `make proto`)", file=sys.stderr)
    return 1 if lines else 0


def _contents(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in (root / PACKAGE).rglob("*.py*")
        if path.suffix in {".py", ".pyi"}
    }


if __name__ == "__main__":
    sys.exit(main())
