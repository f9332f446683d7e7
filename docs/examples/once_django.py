# A worker's task with Django: however often it is delivered, it takes effect once.
#
#   once_django.py DATABASE_URL < messages      one JSON message of the format `list` per line
import json
import sys
from urllib.parse import urlsplit

import django
from django.conf import settings


def configure(url):
    """An application has this in its settings module."""
    url = urlsplit(url)
    database = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": url.path.lstrip("/"),
        "USER": url.username or "",
        "PASSWORD": url.password or "",
        "HOST": url.hostname,
        "PORT": url.port,
    }
    settings.configure(DATABASES={"default": database}, DEFAULT_AUTO_FIELD="django.db.models.BigAutoField")
    django.setup()


def credit(task_id, account, amount):
    """False: an earlier delivery has committed."""
    from django.db import connection, transaction

    with transaction.atomic(), connection.cursor() as cursor:
        # In the transaction of the effect: both are committed, or neither.
        cursor.execute("select outbox_once(%s)", [task_id])
        first = cursor.fetchone()[0]
        if first:
            cursor.execute("update account set balance = balance + %s where name = %s", [amount, account])
        return first


def main():
    configure(sys.argv[1])
    messages = [json.loads(line) for line in sys.stdin]
    done = [credit(message["id"], *message["args"]) for message in messages]
    print(f"{sum(done)} of {len(done)} took effect")


if __name__ == "__main__":
    main()
