//! The program: configuration, daemon, command line.

pub mod cli;
pub mod config;
pub mod daemon;
mod logging;
pub mod reference;
