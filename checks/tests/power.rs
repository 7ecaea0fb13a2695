//! UPSes and power strips behind the real servers: Debian's `upsd` with dummy drivers, and its `snmpd`.

#[expect(dead_code, reason = "runs here remember what the last one saw")]
mod common;
#[path = "power/hostile.rs"]
mod hostile;
#[path = "power/nut.rs"]
mod nut;
#[path = "power/peer.rs"]
mod peer;
#[path = "power/snmp.rs"]
mod snmp;
