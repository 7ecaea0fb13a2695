//! The built-in kinds of checks, one file each.
//!
//! A kind is a settings struct that implements [`monchero_core::check::CheckKind`]. A new one is a file and two adjacent lines here;
//! its YAML, errors, defaults, reference, schema and case runner follow from the struct.

use monchero_core::check::Kind;

mod blocking;
mod host;
mod net;
mod settings;

mod disk;
mod http;
mod load;
mod memory;
mod nut;
mod plugin;
mod snmp;
mod tcp;

/// Every kind of check that is built in.
pub const KINDS: &[Kind] = &[
    Kind::of::<disk::Disk>(),
    Kind::of::<http::Http>(),
    Kind::of::<load::Load>(),
    Kind::of::<memory::Memory>(),
    Kind::of::<nut::Nut>(),
    Kind::of::<plugin::Plugin>(),
    Kind::of::<snmp::Snmp>(),
    Kind::of::<tcp::Tcp>(),
];
