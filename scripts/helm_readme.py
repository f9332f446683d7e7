#!/usr/bin/env python3
"""Writes what values.yaml says about its values into README.md (a table) and values.schema.json (descriptions).

    scripts/helm_readme.py [--check] CHART...

A comment that opens with `# --` documents the key below it, `# == Title` opens a section of the table. With --check
nothing is written, and the exit code is 1 if something would be. Needs PyYAML (scripts/setup.sh charts).
"""

import json
import re
import sys
from pathlib import Path

import yaml

BEGIN, END = "<!-- values: written by scripts/helm_readme.py -->", "<!-- end of values -->"
KEY = re.compile(r"^( *)([A-Za-z0-9_.-]+):(?: |$)")


def documented(text):
    """The sections of values.yaml: [(title, [(path, description)])]."""
    sections, stack, comment = [("", [])], [], None
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("# == "):
            sections.append((stripped[5:], []))
        elif stripped.startswith("# -- "):
            comment = stripped[5:]
        elif match := KEY.match(line):
            depth = len(match[1])
            stack = [(d, key) for d, key in stack if d < depth] + [(depth, match[2])]
            if comment:
                sections[-1][1].append((tuple(key for _, key in stack), comment))
            comment = None
    return [(title, rows) for title, rows in sections if rows]


def default_of(values, path):
    for key in path:
        values = values[key]
    return json.dumps(values, ensure_ascii=False)


def cell(text):
    return text.replace("|", "\\|")


def table(sections, values):
    lines = []
    for title, rows in sections:
        if title:
            lines += ["", f"### {title}"]
        lines += ["", "| value | default | meaning |", "|---|---|---|"]
        lines += [f"| `{'.'.join(path)}` | `{cell(default_of(values, path))}` | {cell(text)} |" for path, text in rows]
    return "\n".join(lines).strip()


def described(schema, sections):
    """The schema with each documented value's description."""
    for _, rows in sections:
        for path, text in rows:
            place = schema
            for key in path:
                place = place.get("properties", {}).get(key)
                if place is None:
                    sys.exit(f"helm_readme: values.schema.json has no property {'.'.join(path)}; add it, then run this again.")
            place.pop("description", None)
            rest = dict(place)
            place.clear()
            place.update({"description": text, **rest})
    return schema


def wanted(chart):
    """What the files of a chart should hold: {path: text}."""
    text = (chart / "values.yaml").read_text()
    sections, values = documented(text), yaml.safe_load(text)
    readme, schema = chart / "README.md", chart / "values.schema.json"
    head, begin, rest = readme.read_text().partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        sys.exit(f"helm_readme: {readme} lacks the lines {BEGIN} and {END}; add them where the table is to stand.")
    written = json.dumps(described(json.loads(schema.read_text()), sections), indent=2, ensure_ascii=False)
    return {readme: f"{head}{BEGIN}\n\n{table(sections, values)}\n\n{END}{tail}", schema: written + "\n"}


def main(arguments):
    check = "--check" in arguments
    charts = [Path(argument) for argument in arguments if argument != "--check"]
    if not charts:
        sys.exit(__doc__)
    stale = [(path, text) for chart in charts for path, text in wanted(chart).items() if path.read_text() != text]
    for path, text in stale:
        if check:
            print(f"helm_readme: {path} does not say what values.yaml says; run scripts/helm_readme.py {path.parent}")
        else:
            path.write_text(text)
            print(f"helm_readme: wrote {path}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
