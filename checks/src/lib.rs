//! The built-in kinds of checks, one file each.
//!
//! A kind is a settings struct that implements [`monchero_core::check::CheckKind`]. A new one is a file and two adjacent lines here;
//! its YAML, errors, defaults, reference, schema and case runner follow from the struct.

use monchero_core::check::Kind;

mod blocking;
mod host;
mod net;
mod pressure;
mod proc;
mod settings;

mod cpu;
mod disk;
mod http;
mod load;
mod memory;
mod plugin;
mod process;
mod systemd;
mod tcp;
mod temperature;
mod uptime;
mod users;

/// Every kind of check that is built in.
pub const KINDS: &[Kind] = &[
    Kind::of::<cpu::Cpu>(),
    Kind::of::<disk::Disk>(),
    Kind::of::<http::Http>(),
    Kind::of::<load::Load>(),
    Kind::of::<memory::Memory>(),
    Kind::of::<plugin::Plugin>(),
    Kind::of::<process::ProcessCheck>(),
    Kind::of::<systemd::Systemd>(),
    Kind::of::<tcp::Tcp>(),
    Kind::of::<temperature::Temperature>(),
    Kind::of::<uptime::Uptime>(),
    Kind::of::<users::Users>(),
];
