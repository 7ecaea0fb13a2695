//! The built-in kinds of checks, one file each.
//!
//! A kind is a settings struct that implements [`monchero_core::check::CheckKind`]. A new one is a file and two adjacent lines here;
//! its YAML, errors, defaults, reference, schema and case runner follow from the struct.

use monchero_core::check::Kind;
use monchero_exec::blocking;

mod base64;
mod bus;
mod counters;
#[cfg(test)]
mod fuzz;
mod host;
mod net;
mod paths;
mod pressure;
mod proc;
mod rows;
mod settings;
mod sntp;

mod certificate;
mod container;
mod cpu;
mod directory;
mod disk;
mod diskio;
mod dns;
mod domain;
mod file;
mod grafana;
mod group;
mod heartbeat;
mod http;
mod imap;
mod ldap;
mod load;
mod log;
mod loki;
mod memcached;
mod memory;
mod mqtt;
mod mysql;
mod network;
mod ntp;
mod nut;
mod ping;
mod plugin;
mod pop3;
mod postgres;
mod process;
mod raid;
mod redis;
mod smart;
mod smtp;
mod snmp;
mod ssh;
mod systemd;
mod tcp;
mod temperature;
mod time;
mod tls;
mod udp;
mod updates;
mod uptime;
mod users;

/// Every kind of check that is built in.
pub const KINDS: &[Kind] = &[
    Kind::of::<certificate::Certificate>(),
    Kind::of::<container::Container>(),
    Kind::of::<cpu::Cpu>(),
    Kind::of::<directory::Directory>(),
    Kind::of::<disk::Disk>(),
    Kind::of::<diskio::DiskIo>(),
    Kind::of::<dns::Dns>(),
    Kind::of::<domain::Domain>(),
    Kind::of::<file::File>(),
    Kind::of::<grafana::Grafana>(),
    Kind::of::<group::Group>(),
    Kind::of::<heartbeat::Heartbeat>(),
    Kind::of::<http::Http>(),
    Kind::of::<imap::Imap>(),
    Kind::of::<ldap::Ldap>(),
    Kind::of::<load::Load>(),
    Kind::of::<log::Log>(),
    Kind::of::<loki::Loki>(),
    Kind::of::<memcached::Memcached>(),
    Kind::of::<memory::Memory>(),
    Kind::of::<mqtt::Mqtt>(),
    Kind::of::<mysql::Mysql>(),
    Kind::of::<network::Network>(),
    Kind::of::<ntp::Ntp>(),
    Kind::of::<nut::Nut>(),
    Kind::of::<ping::Ping>(),
    Kind::of::<plugin::Plugin>(),
    Kind::of::<pop3::Pop3>(),
    Kind::of::<postgres::Postgres>(),
    Kind::of::<process::ProcessCheck>(),
    Kind::of::<raid::Raid>(),
    Kind::of::<redis::Redis>(),
    Kind::of::<smart::Smart>(),
    Kind::of::<smtp::Smtp>(),
    Kind::of::<snmp::Snmp>(),
    Kind::of::<ssh::Ssh>(),
    Kind::of::<systemd::Systemd>(),
    Kind::of::<tcp::Tcp>(),
    Kind::of::<temperature::Temperature>(),
    Kind::of::<time::Time>(),
    Kind::of::<tls::Tls>(),
    Kind::of::<udp::Udp>(),
    Kind::of::<updates::Updates>(),
    Kind::of::<uptime::Uptime>(),
    Kind::of::<users::Users>(),
];
