"""Imported before anything else: says what to do where the generated half of this package is missing."""

import pathlib

if not (pathlib.Path(__file__).parent / "_proto" / "error_details.binpb").exists():
    raise ImportError("mneme/_proto is generated and not there yet: run client/python/generate_stubs.py once")
