//! The built-in kinds of checks, one file each.
//!
//! A kind is a settings struct that implements [`monchero_core::check::CheckKind`]. A new one is a file and two adjacent lines here;
//! its YAML, errors, defaults, reference, schema and case runner follow from the struct.

use monchero_core::check::Kind;

mod base64;
mod blocking;
mod host;
mod net;
mod pressure;
mod proc;
mod settings;

mod cpu;
mod disk;
mod grafana;
mod http;
mod imap;
mod load;
mod loki;
mod memory;
mod nut;
mod plugin;
mod pop3;
mod process;
mod smtp;
mod snmp;
mod ssh;
mod systemd;
mod tcp;
mod temperature;
mod tls;
mod udp;
mod uptime;
mod users;

/// Every kind of check that is built in.
pub const KINDS: &[Kind] = &[
    Kind::of::<cpu::Cpu>(),
    Kind::of::<disk::Disk>(),
    Kind::of::<grafana::Grafana>(),
    Kind::of::<http::Http>(),
    Kind::of::<imap::Imap>(),
    Kind::of::<load::Load>(),
    Kind::of::<loki::Loki>(),
    Kind::of::<memory::Memory>(),
    Kind::of::<nut::Nut>(),
    Kind::of::<plugin::Plugin>(),
    Kind::of::<pop3::Pop3>(),
    Kind::of::<process::ProcessCheck>(),
    Kind::of::<smtp::Smtp>(),
    Kind::of::<snmp::Snmp>(),
    Kind::of::<ssh::Ssh>(),
    Kind::of::<systemd::Systemd>(),
    Kind::of::<tcp::Tcp>(),
    Kind::of::<temperature::Temperature>(),
    Kind::of::<tls::Tls>(),
    Kind::of::<udp::Udp>(),
    Kind::of::<uptime::Uptime>(),
    Kind::of::<users::Users>(),
];
