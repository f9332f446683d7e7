//! The servers of the sandbox do what the other tests rely on: they die, come back, go back and fail over.

mod postgres;
mod redis;
