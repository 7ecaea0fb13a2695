//! The API as its clients see it: over a real Unix socket, on an engine that answers from a script.

mod answers;
mod common;
mod hostile;
