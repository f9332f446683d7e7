# A worker's task with SQLAlchemy: however often it is delivered, it takes effect once.
#
#   once_sqlalchemy.py DATABASE_URL < messages      one JSON message of the format `list` per line
import json
import sys
import uuid

from sqlalchemy import String, create_engine, func, select
from sqlalchemy.engine import make_url
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column


class Base(DeclarativeBase):
    pass


class Account(Base):
    __tablename__ = "account"
    name: Mapped[str] = mapped_column(String, primary_key=True)
    balance: Mapped[int]


def credit(engine, task_id, account, amount):
    """False: an earlier delivery has committed."""
    with Session(engine) as session, session.begin():
        # In the transaction of the effect: both are committed, or neither.
        first = session.scalar(select(func.outbox_once(uuid.UUID(task_id))))
        if first:
            row = session.get_one(Account, account, with_for_update=True)
            row.balance += amount
        return first


def main():
    engine = create_engine(make_url(sys.argv[1]).set(drivername="postgresql+psycopg"))
    messages = [json.loads(line) for line in sys.stdin]
    done = [credit(engine, message["id"], *message["args"]) for message in messages]
    print(f"{sum(done)} of {len(done)} took effect")


if __name__ == "__main__":
    main()
