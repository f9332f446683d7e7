# Captures what a real Celery client pushes: the golden files that decide the bytes of the format `celery`.
#
#   python capture.py tests/golden/celery        (needs celery[redis] and redis-server on PATH)
#
# Starts a private redis-server on a free loopback port, sends one task per case and writes one file per case:
# a list of {row, spec, client, key, message, decoded_body}. `row` is the outbox row for the same task, `spec` the
# settings of the format; `key`, `message` and `decoded_body` are what the client pushed.
import base64
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
from datetime import datetime

import celery
import kombu
import redis
from celery import Celery

TRACE = {
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "tracestate": "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7",
    "baggage": "tenant=acme,plan=gold",
    "sentry-trace": "771a43a4192642f0b136d5159a501700-1234567890abcdef-1",
}
EXPIRES = "2035-01-02T03:04:05.678901+00:00"
ODD = "say \"hi\" \\ back/slash \b\f\n\r\t\x01\x1f\x7f <>& \u00e9\u00fc\u4e2d\u2028 \U0001f680\U0001f469\u200d\U0001f4bb"


def cases():
    """Each case: name -> list of (row, spec, options of send_task)."""
    def case(task="demo.echo", args=(), kwargs=None, spec=None, row=None, **options):
        fields = {"task": task, "args": list(args), "kwargs": kwargs or {}, "headers": {},
                  "priority": None, "expires_at": None}
        return fields | (row or {}), spec or {}, options

    yield "plain", [case("demo.add", [1, 2])]
    yield "empty", [case()]
    yield "kwargs", [case("demo.add", [1], {"y": 2})]
    yield "unicode", [case("demo.\u00e9cho \"x\" \U0001f680", [ODD, [ODD]], {"k\u00e9y \U0001f680 \"": ODD})]
    yield "values", [case(args=[0, -1, 2**63, -(2**70), 1.5, -0.25, 1e300, True, False, None, "", [], {}, [[[]]],
                                {"a": {"b": [1, {"c": None}]}}])]
    yield "priorities", [case(args=[n], priority=n, row={"priority": n}) for n in range(10)]
    yield "priority_steps", [case(args=[n], priority=n, row={"priority": n}, spec={"priority_steps": [0, 2, 5]})
                             for n in range(10)]
    yield "expires", [case(args=[1], expires=datetime.fromisoformat(EXPIRES), row={"expires_at": EXPIRES})]
    headers = TRACE | {"tenant": 42, "nested": {"a": [1, None, "\u00e9"]}, "headers": {"sentry-trace": "x"}}
    yield "headers", [case(args=[1], headers=headers, row={"headers": headers})]
    yield "global_keyprefix", [case(args=[1], spec={"key_prefix": "{app}:"}),
                               case(args=[2], priority=6, spec={"key_prefix": "{app}:"}, row={"priority": 6})]
    yield "time_limits", [
        case(args=[1], time_limit=30, soft_time_limit=20.5, row={"headers": {"timelimit": [30, 20.5]}}),
        case(args=[1], time_limit=30, row={"headers": {"timelimit": [30, None]}})]
    yield "ignore_result", [case(args=[1], ignore_result=flag, row={"headers": {"ignore_result": flag}})
                            for flag in (True, False)]
    tree = {"root_id": "11111111-1111-4111-8111-111111111111", "parent_id": "22222222-2222-4222-8222-222222222222"}
    yield "tree", [case(args=[1], row={"headers": tree}, **tree)]
    names = {"shadow": "demo.shadow", "argsrepr": "(hidden)", "kwargsrepr": "{hidden}"}
    yield "names", [case(args=["secret"], row={"headers": names}, **names)]
    group = {"group": "33333333-3333-4333-8333-333333333333", "group_index": 7}
    yield "group", [case(args=[1], row={"headers": group}, group_id=group["group"], group_index=7)]
    stamps = {"stamped_headers": ["tenant"], "stamps": {"tenant": "acme"}}
    yield "stamps", [case(args=[1], row={"headers": {**stamps, "tenant": "acme"}}, headers={"tenant": "acme"},
                          stamped_headers=["tenant"], tenant="acme")]
    yield "body_encoding_plain", [case(args=[ODD], kwargs={"b": 2}, spec={"body_encoding": "plain"})]


def capture(port, number, row, spec, options):
    """Send one task with the real client and read back what it pushed."""
    transport = {}
    if "key_prefix" in spec:
        transport["global_keyprefix"] = spec["key_prefix"]
    if "priority_steps" in spec:
        transport["priority_steps"] = spec["priority_steps"]
    if spec.get("body_encoding") == "plain":
        transport["body_encoding"] = None
    server = redis.Redis(port=port)
    server.flushall()
    app = Celery("capture", broker=f"redis://127.0.0.1:{port}/0", broker_transport_options=transport)
    row["task_id"] = f"00000000-0000-8000-8000-{number:012d}"
    app.send_task(row["task"], args=row["args"], kwargs=row["kwargs"], task_id=row["task_id"], **options)
    app.close()
    lists = [key for key in server.keys() if server.type(key) == b"list"]
    assert len(lists) == 1 and server.llen(lists[0]) == 1, lists
    message = json.loads(server.lindex(lists[0], 0))
    message["headers"]["origin"] = "gen1@host"  # process id and host name of whoever captures
    body = message["body"]
    if message["properties"]["body_encoding"] == "base64":
        body = base64.b64decode(body).decode()
    return {"row": row, "spec": spec, "client": f"celery {celery.__version__}, kombu {kombu.__version__}",
            "key": lists[0].decode(), "message": message, "decoded_body": json.loads(body)}


def main(target):
    """Run every case against a private server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(
            ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder],
            stdout=subprocess.DEVNULL)
        try:
            wait_for(port)
            number = 0
            for name, variants in cases():
                found = []
                for variant in variants:
                    number += 1
                    found.append(capture(port, number, *variant))
                path = pathlib.Path(target, f"{name}.json")
                path.write_text(json.dumps(found, indent=1, ensure_ascii=True) + "\n")
                print(f"{path}: {len(found)}", file=sys.stderr)
        finally:
            server.terminate()
            server.wait()


def wait_for(port):
    """Return once the server answers; give up after ten seconds."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return redis.Redis(port=port).ping()
        except redis.ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {os.path.basename(sys.argv[0])} FOLDER")
    main(sys.argv[1])
