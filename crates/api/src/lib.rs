//! The one HTTP API: routes, OpenAPI, the listener on the Unix socket, and the client that the command line uses.
//!
//! Handlers run on the daemon's main runtime and only ask: all state is the engine's, the past is the store's.

mod backend;
pub mod client;
mod drill;
mod error;
mod json;
mod operate;
mod read;
mod routes;
pub mod serve;
pub mod socket;
mod summary;
pub mod types;
mod users;
mod view;

pub use backend::{Backend, Reload};
pub use client::{Answer, Client, ClientError};
pub use json::{BODY_TIMEOUT, MAX_BODY};
pub use routes::{Caller, Scope, openapi, routes};
pub use serve::serve;
pub use socket::{Socket, SocketError};
pub use users::Operators;
