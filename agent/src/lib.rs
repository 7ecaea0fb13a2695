//! The program: configuration, daemon, command line.

mod alive;
pub mod cli;
pub mod config;
pub mod daemon;
mod discover;
mod import;
mod logging;
pub mod reference;
