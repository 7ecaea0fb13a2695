//! The real engine on a paused clock.

mod bulletin;
mod delivery;
mod drill;
mod lab;
mod memory;
mod scenarios;
mod schedule;
mod telling;
