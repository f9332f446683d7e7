# The application of the quickstart: a shop that stores an order and enqueues its receipt in one transaction.
#
#   shop.py run              makes its tables, then places SHOP_RATE orders per second until it is told to stop
#   shop.py orders COUNT     places so many orders at once
#   shop.py books [ORDER]    prints one JSON object: orders, receipts, how many orders wait for one (up to that ORDER, if
#                            given), deliveries that outbox_once kept from having an effect twice, the newest order
#   shop.py health           exit code 0 while orders are being placed
#
# DATABASE_URL says where. One order in ten is rolled back after its task was enqueued: that task never runs.
import json
import os
import random
import signal
import sys
import time

import psycopg

TABLES = """
create table if not exists shop_order (
  id bigint generated always as identity primary key,
  placed_at timestamptz not null default clock_timestamp());
create table if not exists shop_receipt (
  order_id bigint primary key references shop_order,
  task_id uuid not null,
  sent_at timestamptz not null default clock_timestamp());
create table if not exists shop_delivery (
  task_id uuid not null,
  first boolean not null,
  at timestamptz not null default clock_timestamp());
"""


class Refused(Exception):
    """An order that fails after everything was written, on purpose."""


def connect():
    return psycopg.connect(os.environ["DATABASE_URL"], connect_timeout=5, autocommit=True)


def place(connection, fails=False):
    """One order and its task: both are committed, or neither."""
    with connection.transaction():
        order = connection.execute("insert into shop_order default values returning id").fetchone()[0]
        connection.execute(
            "select outbox_enqueue('default', 'shop.send_receipt', %s::jsonb)", [json.dumps([order])]
        )
        if fails:
            raise Refused


def run():
    stopping = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.append(True))
    pause = 1 / float(os.environ.get("SHOP_RATE", "2"))
    placed = 0
    with connect() as connection:
        connection.execute(TABLES)
        print(f"the shop is open, one order every {pause:.2f} s", flush=True)
        while not stopping:
            try:
                place(connection, fails=random.randrange(10) == 0)
                placed += 1
            except Refused:
                pass
            time.sleep(pause)
    print(f"the shop is closed after {placed} orders", flush=True)


def orders(count):
    with connect() as connection:
        for _ in range(count):
            place(connection)
    print(f"{count} orders placed")


def books(newest=None):
    with connect() as connection:
        row = connection.execute(
            "select (select count(*) from shop_order), (select count(*) from shop_receipt),"
            " (select count(*) from shop_order o where id <= coalesce(%s, id)"
            "  and not exists (select from shop_receipt r where r.order_id = o.id)),"
            " (select count(*) from shop_delivery where not first), (select max(id) from shop_order)",
            [newest],
        ).fetchone()
    print(json.dumps(dict(zip(("orders", "receipts", "waiting", "duplicates", "newest"), row))))


def health():
    with connect() as connection:
        # A shop that has been open for a moment places orders.
        fresh = "select exists (select from shop_order where placed_at > clock_timestamp() - interval '30 seconds')"
        if not connection.execute(fresh).fetchone()[0]:
            sys.exit("no order was placed for 30 s; see the log of the service app")


def main():
    match sys.argv[1:]:
        case ["run"]:
            run()
        case ["orders", count] if count.isdigit():
            orders(int(count))
        case ["books"]:
            books()
        case ["books", newest] if newest.isdigit():
            books(int(newest))
        case ["health"]:
            health()
        case _:
            sys.exit("usage: shop.py run | orders COUNT | books [ORDER] | health")


if __name__ == "__main__":
    main()
