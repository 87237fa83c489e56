#!/usr/bin/env python3
"""Compiles the wire contract for Python into mneme/_proto, which is built, never committed.

The generated modules import each other relative to the package, and the error details of google.rpc stay a descriptor
set of their own, so that nothing here collides with another library's idea of `google.rpc` or of a module name.
Uses protoc and grpc_python_plugin of the machine, else those of the pip package grpcio-tools.
"""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
PROTO = next((p for p in (HERE.parent.parent / "proto", HERE / "proto") if (p / "mneme/v1").is_dir()), None)
OUT = HERE / "mneme" / "_proto"
NAMES = ("types", "read_outs", "receipts", "memory", "working_memory", "admin")
SERVICES = tuple(f"mneme/v1/{name}.proto" for name in NAMES)
DETAILS = ("google/rpc/error_details.proto", "google/rpc/status.proto")


def _compiler() -> tuple[list[str], list[str]]:
    """The command that runs protoc, and the flags that make it write gRPC stubs."""
    protoc, plugin = shutil.which("protoc"), shutil.which("grpc_python_plugin")
    if protoc and plugin:
        return [protoc], [f"--plugin=protoc-gen-grpc_python={plugin}"]
    import grpc_tools  # pip install grpcio-tools

    includes = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    return [sys.executable, "-m", "grpc_tools.protoc", f"-I{includes}"], []


def generate() -> None:
    """Writes mneme/_proto afresh; the old one stays until the new one is whole."""
    if PROTO is None:
        raise SystemExit("generate_stubs: the folder proto/ with mneme/v1 is neither two levels up nor here")
    protoc, grpc_flags = _compiler()
    with tempfile.TemporaryDirectory(dir=HERE / "mneme", prefix=".proto-") as scratch:
        out = pathlib.Path(scratch)
        flag = "--grpc_python_out=" + str(out)
        subprocess.run(
            [*protoc, f"-I{PROTO}", *grpc_flags, f"--python_out={out}", f"--pyi_out={out}", flag, *SERVICES],
            check=True,
            cwd=PROTO,
        )
        subprocess.run(
            [*protoc, f"-I{PROTO}", "--include_imports", f"--descriptor_set_out={out}/error_details.binpb", *DETAILS],
            check=True,
            cwd=PROTO,
        )
        for module in (out / "mneme/v1").glob("*.py*"):
            text = re.sub(r"^from mneme\.v1 import", "from . import", module.read_text(), flags=re.M)
            (out / module.name).write_text(text)
        shutil.rmtree(out / "mneme")
        (out / "__init__.py").write_text("")
        os.chmod(out, 0o755)
        shutil.rmtree(OUT, ignore_errors=True)
        shutil.copytree(out, OUT)


def stale() -> bool:
    """True when the stubs are missing or older than the contract or this program."""
    marker = OUT / "error_details.binpb"
    if not marker.exists():
        return True
    sources = [PROTO / name for name in (*SERVICES, *DETAILS)] + [pathlib.Path(__file__)] if PROTO else []
    return any(source.stat().st_mtime > marker.stat().st_mtime for source in sources)


if __name__ == "__main__":
    if "--force" in sys.argv[1:] or stale():
        generate()
