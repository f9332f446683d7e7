# The worker of the quickstart: an ordinary Celery application that knows nothing of outboxd but outbox_once, which
# makes a task's effect happen once however often it is delivered.
import os
import time

import psycopg
from celery import Celery

app = Celery("shop", broker=os.environ["REDIS_URL"])
app.conf.update(
    task_ignore_result=True,
    # Acknowledged when it is done: a worker that dies in between loses nothing.
    task_acks_late=True,
    broker_connection_retry_on_startup=True,
    # The demo kills Redis: never give up.
    broker_connection_max_retries=None,
)


@app.task(bind=True, name="shop.send_receipt")
def send_receipt(self, order):
    """Sends the receipt of an order; here, writes that it was sent."""
    time.sleep(float(os.environ.get("SHOP_RECEIPT_SECONDS", "0.05")))
    with psycopg.connect(os.environ["DATABASE_URL"], connect_timeout=5) as connection:
        first = connection.execute("select outbox_once(%s)", [self.request.id]).fetchone()[0]
        if first:
            connection.execute(
                "insert into shop_receipt (order_id, task_id) values (%s, %s)", [order, self.request.id]
            )
        connection.execute("insert into shop_delivery (task_id, first) values (%s, %s)", [self.request.id, first])
    return first
