//! Real, unmodified workers run what the relay publishes: from a commit in Postgres to an executed task.

mod celery;
