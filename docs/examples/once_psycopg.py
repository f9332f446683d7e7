# A worker's task with psycopg: however often it is delivered, it takes effect once.
#
#   once_psycopg.py DATABASE_URL < messages      one JSON message of the format `list` per line
import json
import sys

import psycopg


def credit(connection, task_id, account, amount):
    """False: an earlier delivery has committed."""
    with connection.transaction():
        # In the transaction of the effect: both are committed, or neither.
        first = connection.execute("select outbox_once(%s)", (task_id,)).fetchone()[0]
        if first:
            connection.execute("update account set balance = balance + %s where name = %s", (amount, account))
        return first


def main():
    with psycopg.connect(sys.argv[1], autocommit=True) as connection:
        messages = [json.loads(line) for line in sys.stdin]
        done = [credit(connection, message["id"], *message["args"]) for message in messages]
    print(f"{sum(done)} of {len(done)} took effect")


if __name__ == "__main__":
    main()
