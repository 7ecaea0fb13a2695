//! The built-in kinds of checks, one file each.
//!
//! A kind is a settings struct that implements [`monchero_core::check::CheckKind`]. A new one is a file and two adjacent lines here;
//! its YAML, errors, defaults, reference, schema and case runner follow from the struct.

use monchero_core::check::Kind;

mod blocking;
mod counters;
mod host;
mod net;
mod paths;
mod settings;

mod directory;
mod disk;
mod diskio;
mod file;
mod http;
mod load;
mod log;
mod memory;
mod network;
mod plugin;
mod raid;
mod smart;
mod tcp;

/// Every kind of check that is built in.
pub const KINDS: &[Kind] = &[
    Kind::of::<directory::Directory>(),
    Kind::of::<disk::Disk>(),
    Kind::of::<diskio::DiskIo>(),
    Kind::of::<file::File>(),
    Kind::of::<http::Http>(),
    Kind::of::<load::Load>(),
    Kind::of::<log::Log>(),
    Kind::of::<memory::Memory>(),
    Kind::of::<network::Network>(),
    Kind::of::<plugin::Plugin>(),
    Kind::of::<raid::Raid>(),
    Kind::of::<smart::Smart>(),
    Kind::of::<tcp::Tcp>(),
];
