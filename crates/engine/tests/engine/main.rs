//! The real engine on a paused clock.

mod delivery;
mod lab;
mod memory;
mod scenarios;
mod schedule;
mod telling;
