//! What kinds that log in to a server have in common: where it is.

use monchero_core::Invalid;

use crate::net::Peer;

/// The peer that the settings `host` and `port` name.
pub(crate) fn peer(host: &str, port: u16) -> Result<Peer, Invalid> {
    if port == 0 {
        return Err(Invalid::at("port", "a port is a number from 1 to 65535".to_owned()));
    }
    let host = host.trim();
    let is_v6 = host.parse::<std::net::Ipv6Addr>().is_ok();
    let text = if is_v6 { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    text.parse().map_err(|_| {
        Invalid::at(
            "host",
            format!("`{host}` is no name of a host and no address, such as `db.example.org`, `10.0.0.1` or `::1`"),
        )
    })
}
