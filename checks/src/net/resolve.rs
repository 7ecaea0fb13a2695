//! From the name of a host to its addresses (R76).

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};

use super::{Deadline, Failure, Family, Peer, io_text};
use crate::blocking::{Blocking, NoAnswer};

/// How many addresses of a host are tried at most: a name with more has a problem of its own.
const MAX_ADDRESSES: usize = 8;

/// The resolver of libc is used, so that `/etc/hosts`, `resolv.conf` and NSS mean for monchero what they mean for every other program.
/// It has no deadline and uses more stack than a system call.
static RESOLVER: Blocking = Blocking::new("monchero-name", 256 * 1024);

/// The addresses of a peer, in the order in which they are to be tried: IPv6 and IPv4 in turn, beginning with what the system prefers
/// (RFC 8305, section 4).
pub(crate) async fn resolve(peer: &Peer, family: Family, deadline: Deadline) -> Result<Vec<SocketAddr>, Failure> {
    let wanted = |address: &IpAddr| match family {
        Family::Any => true,
        Family::Ipv4 => address.is_ipv4(),
        Family::Ipv6 => address.is_ipv6(),
    };
    let found: Vec<IpAddr> = match peer.host.parse::<IpAddr>() {
        Ok(address) => vec![address],
        Err(_) => look_up(&peer.host, deadline).await?,
    };
    let found = found.into_iter().filter(wanted).map(|address| SocketAddr::new(address, peer.port)).collect();
    let addresses = in_turn(found);
    if addresses.is_empty() {
        let family = match family {
            Family::Any => "",
            Family::Ipv4 => "IPv4 ",
            Family::Ipv6 => "IPv6 ",
        };
        return Err(Failure::Bad(format!("`{}` has no {family}address", peer.host)));
    }
    Ok(addresses)
}

async fn look_up(host: &str, deadline: Deadline) -> Result<Vec<IpAddr>, Failure> {
    let name = host.to_owned();
    let answer =
        RESOLVER.call(host, deadline.left(), move || (name.as_str(), 0).to_socket_addrs().map(Vec::from_iter)).await;
    match answer {
        Ok(Ok(found)) => Ok(found.into_iter().map(|address| address.ip()).collect()),
        Ok(Err(error)) => Err(Failure::Bad(format!("resolving `{host}`: {}", reason(&error)))),
        Err(NoAnswer::Hangs(span)) => Err(Failure::Bad(format!(
            "resolving `{host}`: the resolver has not answered for {}",
            monchero_core::duration::human(span)
        ))),
        Err(other) => Err(Failure::Unable(format!("resolving `{host}`: the resolver {other}"))),
    }
}

/// What getaddrinfo said, without what std puts before it.
fn reason(error: &std::io::Error) -> String {
    let text = io_text(error);
    let text = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
    text.to_lowercase()
}

fn in_turn(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = found.first().is_some_and(SocketAddr::is_ipv6);
    let (preferred, others): (Vec<_>, Vec<_>) = found.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut preferred, mut others) = (preferred.into_iter(), others.into_iter());
    let mut order = Vec::new();
    while order.len() < MAX_ADDRESSES {
        let pair = [preferred.next(), others.next()];
        if pair.iter().all(Option::is_none) {
            break;
        }
        for address in pair.into_iter().flatten() {
            // getaddrinfo names an address once for each type of socket.
            if !order.contains(&address) {
                order.push(address);
            }
        }
    }
    order.truncate(MAX_ADDRESSES);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns() {
        let found = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "[::1]:1"]);
        assert_eq!(in_turn(found), addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"]));
        assert_eq!(in_turn(addresses(&["1.1.1.1:1", "[::1]:1"])), addresses(&["1.1.1.1:1", "[::1]:1"]));
        assert!(in_turn(Vec::new()).is_empty());
        let many: Vec<SocketAddr> = (0..100).map(|number| SocketAddr::from(([10, 0, 0, number], 1))).collect();
        assert_eq!(in_turn(many).len(), MAX_ADDRESSES);
    }
}
