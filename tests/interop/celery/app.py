# A Celery application for tests: each execution appends one JSON line to a ledger file.
#
#   DEMO_BROKER=redis://127.0.0.1:6379/0 DEMO_LEDGER=ledger.jsonl \
#     celery -A app worker -c 1 --pool solo -Q celery
#
# DEMO_BROKER   broker URL (required)
# DEMO_LEDGER   file that executions are appended to (required); one write(2) with O_APPEND per line, so that
#               any number of workers and pool children may share it
# DEMO_CONFIG   JSON object of further Celery settings, for example
#               {"broker_transport_options": {"global_keyprefix": "{app}:"}, "task_acks_late": true}
#
# A line holds: event ("run", or "slept" at the end of demo.sleep), id, name, args, kwargs, headers (custom
# ones), priority, routing_key, redelivered, retries, timelimit, root_id, expires, pid, at (seconds since 1970).
import json
import os
import time

from celery import Celery

app = Celery("demo", broker=os.environ["DEMO_BROKER"])
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_ignore_result=True,
    worker_send_task_events=False,
    worker_hijack_root_logger=False,
)
app.conf.update(json.loads(os.environ.get("DEMO_CONFIG", "{}")))


def record(task, args, kwargs, event="run"):
    """Append one line about the running task to the ledger."""
    request = task.request
    delivery = request.delivery_info or {}
    line = json.dumps({
        "event": event,
        "id": request.id,
        "name": task.name,
        "args": list(args),
        "kwargs": kwargs,
        "headers": request.headers,
        "priority": delivery.get("priority"),
        "routing_key": delivery.get("routing_key"),
        "redelivered": bool(delivery.get("redelivered")),
        "retries": request.retries,
        "timelimit": request.timelimit,
        "root_id": request.root_id,
        "expires": request.expires,
        "pid": os.getpid(),
        "at": time.time(),
    }, default=repr)
    ledger = os.open(os.environ["DEMO_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(ledger, line.encode() + b"\n")
    finally:
        os.close(ledger)


@app.task(bind=True, name="demo.add")
def add(self, x, y=0):
    """Add two numbers."""
    record(self, [x, y], {})
    return x + y


@app.task(bind=True, name="demo.echo")
def echo(self, *args, **kwargs):
    """Take anything, give it back."""
    record(self, args, kwargs)
    return [list(args), kwargs]


@app.task(bind=True, name="demo.fail")
def fail(self, *args, **kwargs):
    """Fail, once recorded."""
    record(self, args, kwargs)
    raise RuntimeError("demo.fail fails")


@app.task(bind=True, name="demo.retry", max_retries=None)
def retry(self, countdown):
    """Ask to be run again after so many seconds, every time."""
    record(self, [countdown], {})
    raise self.retry(countdown=countdown)


@app.task(bind=True, name="demo.sleep")
def sleep(self, seconds):
    """Run for a while; recorded at the start and at the end."""
    record(self, [seconds], {})
    time.sleep(seconds)
    record(self, [seconds], {}, event="slept")
