#!/usr/bin/env python3
"""Asserts what the charts render: scripts/check_helm.py CHARTS [GROUP...]

CHARTS is a copy of helm/ whose dependencies are built (scripts/check_helm.sh makes it). Groups: package, chart,
sidecar, monitoring, settings, manifests; all of them if none is named. Every check runs, and the exit code is 1 if one fails.
"""

import inspect
import sys

from helm_checks import chart, manifests, monitoring, package, settings, sidecar

GROUPS = {"package": package, "chart": chart, "sidecar": sidecar, "monitoring": monitoring, "settings": settings,
          "manifests": manifests}


def main(charts, wanted):
    failures = 0
    for group in wanted or GROUPS:
        for check in GROUPS[group].CHECKS:
            name = f"{group}: {check.__name__.replace('_', ' ')}"
            try:
                check(*([charts] if inspect.signature(check).parameters else []))
            except AssertionError as error:
                failures += 1
                print(f"  FAILED  {name}\n    {error or 'see the assertion in scripts/helm_checks/' + group + '.py'}")
            else:
                print(f"  ok      {name}", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    if len(sys.argv) < 2 or not set(sys.argv[2:]) <= set(GROUPS):
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2:]))
