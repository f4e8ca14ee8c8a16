"""Validation of files for other programs against the schemas that these publish."""

import subprocess
import sys
from pathlib import Path


def problems(schema: str, path: Path) -> str:
    """Return what is wrong with a YAML file by a schema of `check-jsonschema`, or nothing."""
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    done = subprocess.run([*check, str(path)], capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr) if done.returncode else ""
