//! The servers of the sandbox do what the other tests rely on: they die, come back, go back and fail over.

mod celery;
mod life;
mod postgres;
mod proxy;
mod redis;
mod stage;
