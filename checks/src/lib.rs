//! The built-in kinds of checks, one file each.
//!
//! A kind is a settings struct that implements [`monchero_core::check::CheckKind`]. A new one is a file and two adjacent lines here;
//! its YAML, errors, defaults, reference, schema and case runner follow from the struct.

use monchero_core::check::Kind;

mod base64;
mod blocking;
mod host;
mod net;
mod rows;
mod server;
mod settings;

mod disk;
mod dns;
mod grafana;
mod http;
mod imap;
mod ldap;
mod load;
mod loki;
mod memcached;
mod memory;
mod mqtt;
mod mysql;
mod ping;
mod plugin;
mod pop3;
mod postgres;
mod redis;
mod smtp;
mod ssh;
mod tcp;
mod tls;
mod udp;

/// Every kind of check that is built in.
pub const KINDS: &[Kind] = &[
    Kind::of::<disk::Disk>(),
    Kind::of::<dns::Dns>(),
    Kind::of::<grafana::Grafana>(),
    Kind::of::<http::Http>(),
    Kind::of::<imap::Imap>(),
    Kind::of::<ldap::Ldap>(),
    Kind::of::<load::Load>(),
    Kind::of::<loki::Loki>(),
    Kind::of::<memcached::Memcached>(),
    Kind::of::<memory::Memory>(),
    Kind::of::<mqtt::Mqtt>(),
    Kind::of::<mysql::Mysql>(),
    Kind::of::<ping::Ping>(),
    Kind::of::<plugin::Plugin>(),
    Kind::of::<pop3::Pop3>(),
    Kind::of::<postgres::Postgres>(),
    Kind::of::<redis::Redis>(),
    Kind::of::<smtp::Smtp>(),
    Kind::of::<ssh::Ssh>(),
    Kind::of::<tcp::Tcp>(),
    Kind::of::<tls::Tls>(),
    Kind::of::<udp::Udp>(),
];
