//! The built-in kinds of checks, one file each.
//!
//! A kind is a settings struct that implements [`monchero_core::check::CheckKind`]. A new one is a file and two adjacent lines here;
//! its YAML, errors, defaults, reference, schema and case runner follow from the struct.

use monchero_core::check::Kind;

mod blocking;
mod host;
mod net;
mod settings;
mod sntp;

mod certificate;
mod container;
mod disk;
mod domain;
mod http;
mod load;
mod memory;
mod ntp;
mod plugin;
mod tcp;
mod time;
mod updates;

/// Every kind of check that is built in.
pub const KINDS: &[Kind] = &[
    Kind::of::<certificate::Certificate>(),
    Kind::of::<container::Container>(),
    Kind::of::<disk::Disk>(),
    Kind::of::<domain::Domain>(),
    Kind::of::<http::Http>(),
    Kind::of::<load::Load>(),
    Kind::of::<memory::Memory>(),
    Kind::of::<ntp::Ntp>(),
    Kind::of::<plugin::Plugin>(),
    Kind::of::<tcp::Tcp>(),
    Kind::of::<time::Time>(),
    Kind::of::<updates::Updates>(),
];
