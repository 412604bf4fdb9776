"""Reads the pipeline files as their servers do."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[3]
GITLAB = ROOT / "ci/gitlab/vfio-multifd.yml"
GITHUB = ROOT / "ci/github/action.yml"


def loaded(text: str) -> list[Any]:
    """The documents in ``text``, as plain data."""
    return [json.loads(json.dumps(each)) for each in YAML(typ="safe").load_all(text)]


def rendered(text: str, inputs: dict[str, Any]) -> str:
    """``text`` with each ``$[[ inputs.NAME ]]`` replaced; arrays as they are in YAML's flow."""

    def value(match: re.Match[str]) -> str:
        found = inputs[match[1]]
        return found if isinstance(found, str) else json.dumps(found)

    return re.sub(r"\$\[\[ inputs\.([a-z-]+) \]\]", value, text)


def gitlab(**given: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the included file says of its inputs, and its jobs with what is ``given``."""
    head, body = GITLAB.read_text().split("\n---\n")
    (spec,) = loaded(head)
    declared = spec["spec"]["inputs"]
    defaults = {name: told["default"] for name, told in declared.items() if "default" in told}
    (jobs,) = loaded(rendered(body, {**defaults, "image": "IMAGE", **given}))
    return declared, jobs


def schema_errors(document: Any, schema: str, path: Path) -> str:
    """What check-jsonschema says against ``document``, written to ``path``; empty: nothing."""
    path.write_text(json.dumps(document))
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, path],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return "" if done.returncode == 0 else done.stdout + done.stderr
