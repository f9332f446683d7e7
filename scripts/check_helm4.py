#!/usr/bin/env python3
"""Lints the chart with Helm 4: scripts/check_helm4.py CHARTS

CHARTS is a copy of helm/ (scripts/check_helm.sh makes it). This Helm takes no values beside a chart's own, so each
example of ci/ becomes the values.yaml of a copy. The exit code is 1 if Helm finds an error, or finds none where there
is one.
"""

import asyncio
import json
import shutil
import sys
import tempfile
from pathlib import Path

import helm_sdkpy
import yaml

ERROR = 3


def errors(chart):
    """What Helm 4 calls an error; the texts come on the standard error output, if at all."""
    said = asyncio.run(helm_sdkpy.Lint(helm_sdkpy.Configuration()).run(str(chart)))
    return [message["Path"] for message in said["Messages"] or [] if message["Severity"] >= ERROR]


def merged(base, over):
    """As Helm merges values: trees by key, everything else as a whole, and null takes a key away."""
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    result = {**base, **{key: merged(base.get(key), value) for key, value in over.items()}}
    return {key: value for key, value in result.items() if value is not None}


def main(charts):
    chart, wrong = charts / "outboxd", 0
    defaults = yaml.safe_load((chart / "values.yaml").read_text())
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "outboxd"
        shutil.copytree(chart, copy)
        for example in sorted(chart.glob("ci/*.yaml")):
            (copy / "values.yaml").write_text(json.dumps(merged(defaults, yaml.safe_load(example.read_text()))))
            if found := errors(copy):
                wrong += 1
                print(f"Helm 4 refuses {example.name}: {', '.join(found)}")
        (copy / "templates/broken.yaml").write_text("{{ .Values.no.such.value }}")
        if not errors(copy):
            wrong += 1
            print("Helm 4 finds nothing wrong with a broken template: its lint does not look")
    return 1 if wrong else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1])))
