"""Generates the stubs before setuptools looks for packages; everything else stands in pyproject.toml."""

import pathlib
import sys

from setuptools import setup

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import generate_stubs  # noqa: E402

if generate_stubs.PROTO is not None and generate_stubs.stale():
    generate_stubs.generate()

setup()
