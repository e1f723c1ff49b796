//! Who is believed what it says of a client that it speaks for.

use std::net::IpAddr;
use std::str::FromStr;

use http::HeaderMap;
use ipnet::IpNet;

use super::Peer;

/// What only a proxy can know. A client that sends these itself claims to be another one.
const FORWARDED: [&str; 4] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];

/// The proxies before this server. The default is none.
#[derive(Clone, Debug, Default)]
pub struct Proxies(Option<Vec<Network>>);

impl Proxies {
    /// Those on this machine, and those of `networks`.
    pub fn on_this_machine_and(networks: Vec<Network>) -> Self {
        Self(Some(networks))
    }

    /// Removes what only a proxy can know from what anybody else has sent.
    pub(super) fn clear(&self, headers: &mut HeaderMap, peer: Peer) {
        if !self.includes(peer) {
            for name in FORWARDED {
                headers.remove(name);
            }
        }
    }

    fn includes(&self, peer: Peer) -> bool {
        match (&self.0, peer) {
            (None, _) => false,
            (Some(_), Peer::Unix) => true,
            (Some(networks), Peer::Tcp(address)) => {
                let ip = address.ip().to_canonical();
                ip.is_loopback() || networks.iter().any(|network| network.0.contains(&ip))
            }
        }
    }
}

/// An address, or all that begin alike: `192.0.2.7` or `192.0.2.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(IpNet);

impl FromStr for Network {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let address = || text.parse::<IpAddr>().map(IpNet::from).ok();
        let network = text.parse().ok().or_else(address);
        network
            .map(Self)
            .ok_or("a network is an IP address, or one and the length of its prefix: 192.0.2.0/24")
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::{FORWARDED, Network, Proxies};
    use crate::http::Peer;

    fn networks(texts: &[&str]) -> Vec<Network> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// Whether the fields of a request from there are believed.
    fn believes(proxies: &Proxies, from: &str) -> bool {
        let peer = match from {
            "unix" => Peer::Unix,
            address => Peer::Tcp(format!("{address}:1").parse().unwrap()),
        };
        let mut headers = HeaderMap::new();
        for name in FORWARDED {
            headers.append(name, HeaderValue::from_static("one"));
            headers.append(name, HeaderValue::from_static("two"));
        }
        headers.append("host", HeaderValue::from_static("up.example"));
        proxies.clear(&mut headers, peer);
        assert!([1, 9].contains(&headers.len()), "{headers:?}");
        headers.len() == 9
    }

    #[test]
    fn only_who_is_named_or_on_this_machine_is_believed() {
        let named = Proxies::on_this_machine_and(networks(&["192.0.2.7", "2001:db8::/32"]));
        let local = Proxies::on_this_machine_and(Vec::new());
        for (from, by_named, by_local) in [
            ("unix", true, true),
            ("127.0.0.1", true, true),
            ("[::1]", true, true),
            ("[::ffff:127.0.0.1]", true, true),
            ("192.0.2.7", true, false),
            ("[::ffff:192.0.2.7]", true, false),
            ("192.0.2.8", false, false),
            ("[2001:db8:1::5]", true, false),
            ("[2001:db9::5]", false, false),
        ] {
            assert_eq!(believes(&named, from), by_named, "{from}");
            assert_eq!(believes(&local, from), by_local, "{from}");
            assert!(!believes(&Proxies::default(), from), "{from}");
        }
    }

    #[test]
    fn a_network_is_an_address_or_a_prefix() {
        for text in [
            "192.0.2.7",
            "192.0.2.0/24",
            "0.0.0.0/0",
            "::1",
            "2001:db8::/32",
        ] {
            assert!(text.parse::<Network>().is_ok(), "{text}");
        }
        for text in [
            "",
            "proxy.example",
            "192.0.2.0/33",
            "192.0.2",
            "192.0.2.7:80",
            "*",
            "::/129",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
