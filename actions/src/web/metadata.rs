//! Where no message goes: the metadata services of clouds. They hand out credentials to whoever runs on a machine, and an address that
//! leads there, by mistake or because somebody else answers for its name, is to reach nobody.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Of AWS, Azure, Google and others, of containers at AWS, and of Alibaba.
const V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(169, 254, 169, 254), Ipv4Addr::new(169, 254, 170, 2), Ipv4Addr::new(100, 100, 100, 200)];
/// Of AWS.
const V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// Whether an address belongs to a metadata service, however it is written.
pub(super) fn is_metadata(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => V4.contains(&address),
        IpAddr::V6(address) => address == V6,
    }
}

/// Asks the system for the addresses of a name, as all programs do, and gives none away if one is refused.
pub(super) struct Names;

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // The port is put in by whoever connects.
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let addresses = allowed(name.as_str(), found)?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

fn allowed(name: &str, addresses: Vec<SocketAddr>) -> io::Result<Vec<SocketAddr>> {
    match addresses.iter().find(|address| is_metadata(address.ip())) {
        Some(refused) => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "`{name}` has the address {}, the metadata service of a cloud: no message goes there",
                refused.ip()
            ),
        )),
        None => Ok(addresses),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_services_are_known_however_they_are_written() {
        for address in
            ["169.254.169.254", "::ffff:169.254.169.254", "169.254.170.2", "100.100.100.200", "fd00:ec2::254"]
        {
            assert!(is_metadata(address.parse().unwrap()), "{address}");
        }
        for address in ["169.254.169.253", "192.168.1.254", "127.0.0.1", "fe80::1", "fd00:ec2::253"] {
            assert!(!is_metadata(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn one_refused_address_is_enough() {
        let of =
            |texts: &[&str]| texts.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 0)).collect::<Vec<_>>();
        assert_eq!(allowed("hooks.example", of(&["192.0.2.1", "2001:db8::1"])).unwrap().len(), 2);
        let refused = allowed("hooks.example", of(&["192.0.2.1", "169.254.169.254"])).unwrap_err().to_string();
        assert!(refused.contains("`hooks.example` has the address 169.254.169.254"), "{refused}");
    }
}
