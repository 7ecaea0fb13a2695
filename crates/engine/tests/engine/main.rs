//! The real engine on a paused clock.

mod bulletin;
mod delivery;
mod drill;
mod edges;
mod lab;
mod memory;
#[path = "../../../core/tests/support/random.rs"]
mod random;
mod reload;
mod scenarios;
mod schedule;
mod telling;
