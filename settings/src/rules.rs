//! Which sockets go fast: a fixed table that is asked once per socket, first match wins.
//!
//! A rule reads `<fast|kernel> <tcp|udp|*> <server|client|*> <address[/prefix]|*>:<port[-port]|*>` (grammar and errors:
//! [`crate::rule_text`]). The address and port of a *server* socket are its own, those of a *client* socket are the
//! far end's: both name the service. A socket that came from `accept` is asked with the address it was reached at, not
//! with the wildcard its listener was bound to.
//!
//! The built-in rules stand behind those that were given, so a socket that no given rule mentions is treated as if
//! there were none: TCP goes fast, name resolution and everything else stays in the kernel. Who wants nothing but what
//! the rules name ends them with `kernel * * *:*`.

use core::net::IpAddr;

/// What a rule decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Accelerate when possible.
    Fast,
    /// An ordinary kernel socket.
    Kernel,
}

/// Transport of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Stream.
    Tcp,
    /// Datagrams.
    Udp,
}

/// Which end of a connection a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Listens or was accepted; its own address is compared.
    Server,
    /// Connects; the far address is compared.
    Client,
}

/// Addresses that a rule matches. IPv4-mapped IPv6 addresses are IPv4 addresses everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// Every address of both families.
    Any,
    /// IPv4 addresses whose first `prefix` bits are those of `network`; the other bits of `network` are zero.
    V4 {
        /// Network, most significant byte first.
        network: u32,
        /// Significant bits, 0 to 32.
        prefix: u8,
    },
    /// IPv6 addresses whose first `prefix` bits are those of `network`; the other bits of `network` are zero.
    V6 {
        /// Network, most significant byte first.
        network: u128,
        /// Significant bits, 0 to 128.
        prefix: u8,
    },
}

impl Addresses {
    /// The addresses that share `prefix` bits with `address`, or nothing when it has fewer bits than that.
    #[must_use]
    pub fn within(address: IpAddr, prefix: u8) -> Option<Addresses> {
        match address {
            IpAddr::V4(address) if prefix <= 32 => Some(Addresses::V4 {
                network: address.to_bits() & mask_v4(prefix),
                prefix,
            }),
            IpAddr::V6(address) if prefix <= 128 => Some(Addresses::V6 {
                network: address.to_bits() & mask_v6(prefix),
                prefix,
            }),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        }
    }

    /// Whether `address` is one of them.
    #[must_use]
    pub fn contain(self, address: IpAddr) -> bool {
        match (self, address.to_canonical()) {
            (Addresses::Any, _) => true,
            (Addresses::V4 { network, prefix }, IpAddr::V4(address)) => {
                address.to_bits() & mask_v4(prefix) == network
            }
            (Addresses::V6 { network, prefix }, IpAddr::V6(address)) => {
                address.to_bits() & mask_v6(prefix) == network
            }
            (Addresses::V4 { .. }, IpAddr::V6(_)) | (Addresses::V6 { .. }, IpAddr::V4(_)) => false,
        }
    }
}

const fn mask_v4(prefix: u8) -> u32 {
    match u32::MAX.checked_shl(32u32.saturating_sub(prefix as u32)) {
        Some(mask) => mask,
        None => 0,
    }
}

const fn mask_v6(prefix: u8) -> u128 {
    match u128::MAX.checked_shl(128u32.saturating_sub(prefix as u32)) {
        Some(mask) => mask,
        None => 0,
    }
}

/// One rule. `None` stands for `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it decides.
    pub choice: Choice,
    /// Transport it is about.
    pub protocol: Option<Protocol>,
    /// End it is about.
    pub role: Option<Role>,
    /// Addresses it is about.
    pub addresses: Addresses,
    /// First port it is about.
    pub first_port: u16,
    /// Last port it is about.
    pub last_port: u16,
}

impl Rule {
    const fn built_in(
        choice: Choice,
        protocol: Option<Protocol>,
        first_port: u16,
        last_port: u16,
    ) -> Rule {
        Rule {
            choice,
            protocol,
            role: None,
            addresses: Addresses::Any,
            first_port,
            last_port,
        }
    }

    /// Whether it is about such a socket.
    #[must_use]
    pub fn matches(&self, protocol: Protocol, role: Role, address: IpAddr, port: u16) -> bool {
        self.may_match(protocol, role, port) && self.addresses.contain(address)
    }

    /// Whether it is about such a socket at some address.
    fn may_match(&self, protocol: Protocol, role: Role, port: u16) -> bool {
        self.protocol.is_none_or(|own| own == protocol)
            && self.role.is_none_or(|own| own == role)
            && (self.first_port..=self.last_port).contains(&port)
    }
}

/// Most rules that can be given, those of the environment and of the file together.
pub const RULES_MAX: usize = 64;

/// The built-in rules, as a user would write them.
pub const BUILT_IN_TEXT: &str = "kernel * * *:53; kernel * * *:853; fast tcp * *:*; kernel * * *:*";

/// The built-in rules. Resolvers talk on 53 and 853: short, often from inside glibc where no call can be seen, and a
/// program whose name resolution breaks is blamed on everything else first.
pub const BUILT_IN: [Rule; 4] = [
    Rule::built_in(Choice::Kernel, None, 53, 53),
    Rule::built_in(Choice::Kernel, None, 853, 853),
    Rule::built_in(Choice::Fast, Some(Protocol::Tcp), 0, u16::MAX),
    Rule::built_in(Choice::Kernel, None, 0, u16::MAX),
];

/// The rules of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    given: [Rule; RULES_MAX],
    count: usize,
}

impl Rules {
    /// No rule was given; the built-in ones hold.
    pub const NONE: Rules = Rules {
        given: [BUILT_IN[3]; RULES_MAX],
        count: 0,
    };

    /// Adds a rule behind the others. False when the table is full.
    #[must_use]
    pub fn push(&mut self, rule: Rule) -> bool {
        match self.given.get_mut(self.count) {
            Some(place) => {
                *place = rule;
                self.count += 1;
                true
            }
            None => false,
        }
    }

    /// The rules that were given, in order.
    #[must_use]
    pub fn given(&self) -> &[Rule] {
        self.given.get(..self.count).unwrap_or(&[])
    }

    /// What is to become of a socket. `address` and `port` are its own for a server, the far end's for a client.
    #[must_use]
    pub fn decide(&self, protocol: Protocol, role: Role, address: IpAddr, port: u16) -> Choice {
        self.given()
            .iter()
            .chain(&BUILT_IN)
            .find(|rule| rule.matches(protocol, role, address, port))
            .map_or(Choice::Kernel, |rule| rule.choice)
    }

    /// What is to become of a socket whatever its address, or nothing when that depends on the address.
    #[must_use]
    pub fn decide_everywhere(&self, protocol: Protocol, role: Role, port: u16) -> Option<Choice> {
        self.given()
            .iter()
            .chain(&BUILT_IN)
            .find(|rule| rule.may_match(protocol, role, port))
            .and_then(|rule| (rule.addresses == Addresses::Any).then_some(rule.choice))
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn rules(text: &str) -> Rules {
        let mut rules = Rules::NONE;
        rules.add_text(text.as_bytes()).expect("good rules");
        rules
    }

    #[test]
    fn built_in_text_and_table_agree() {
        assert_eq!(rules(BUILT_IN_TEXT).given(), &BUILT_IN);
    }

    #[test]
    fn what_depends_on_the_address_is_not_decided_everywhere() {
        let everywhere =
            |rules: Rules, port| rules.decide_everywhere(Protocol::Tcp, Role::Server, port);
        assert_eq!(everywhere(Rules::NONE, 80), Some(Choice::Fast));
        assert_eq!(everywhere(Rules::NONE, 853), Some(Choice::Kernel));
        let some =
            rules("kernel tcp client *:80; kernel tcp server 10.0.0.0/8:1-100; kernel tcp * *:200");
        assert_eq!(everywhere(some, 80), None);
        assert_eq!(everywhere(some, 101), Some(Choice::Fast));
        assert_eq!(everywhere(some, 200), Some(Choice::Kernel));
    }

    #[test]
    fn without_rules_tcp_is_fast_and_name_resolution_is_not() {
        let rules = Rules::NONE;
        for role in [Role::Server, Role::Client] {
            for port in [53, 853] {
                for protocol in [Protocol::Tcp, Protocol::Udp] {
                    assert_eq!(
                        rules.decide(protocol, role, ip("127.0.0.1"), port),
                        Choice::Kernel
                    );
                }
            }
            assert_eq!(
                rules.decide(Protocol::Tcp, role, ip("::1"), 6379),
                Choice::Fast
            );
            assert_eq!(
                rules.decide(Protocol::Tcp, role, ip("10.1.2.3"), 0),
                Choice::Fast
            );
            assert_eq!(
                rules.decide(Protocol::Udp, role, ip("10.1.2.3"), 6379),
                Choice::Kernel
            );
        }
    }

    #[test]
    fn first_match_wins_and_the_rest_is_as_without_rules() {
        let rules = rules("kernel tcp * 10.0.0.0/8:*; fast tcp * *:53; kernel tcp client *:80-90");
        let decide = |role, address, port| rules.decide(Protocol::Tcp, role, ip(address), port);
        assert_eq!(decide(Role::Client, "10.200.0.1", 53), Choice::Kernel);
        assert_eq!(decide(Role::Client, "11.0.0.1", 53), Choice::Fast);
        assert_eq!(decide(Role::Client, "11.0.0.1", 853), Choice::Kernel);
        assert_eq!(decide(Role::Client, "11.0.0.1", 79), Choice::Fast);
        assert_eq!(decide(Role::Client, "11.0.0.1", 80), Choice::Kernel);
        assert_eq!(decide(Role::Client, "11.0.0.1", 90), Choice::Kernel);
        assert_eq!(decide(Role::Client, "11.0.0.1", 91), Choice::Fast);
        assert_eq!(decide(Role::Server, "11.0.0.1", 85), Choice::Fast);
    }

    #[test]
    fn the_example_of_the_manual_accelerates_one_server_only() {
        let rules = rules("fast tcp server *:6379; kernel * * *:*");
        assert_eq!(
            rules.decide(Protocol::Tcp, Role::Server, ip("127.0.0.1"), 6379),
            Choice::Fast
        );
        assert_eq!(
            rules.decide(Protocol::Tcp, Role::Client, ip("127.0.0.1"), 6379),
            Choice::Kernel
        );
        assert_eq!(
            rules.decide(Protocol::Tcp, Role::Server, ip("127.0.0.1"), 80),
            Choice::Kernel
        );
    }

    #[test]
    fn mapped_addresses_are_ipv4_in_rules_and_in_sockets() {
        for text in [
            "fast tcp * 127.0.0.0/8:1; kernel * * *:*",
            "fast tcp * [::ffff:127.0.0.0]/104:1; kernel * * *:*",
        ] {
            let rules = rules(text);
            for address in ["127.9.9.9", "::ffff:127.9.9.9"] {
                assert_eq!(
                    rules.decide(Protocol::Tcp, Role::Client, ip(address), 1),
                    Choice::Fast,
                    "{text} {address}"
                );
            }
            for address in ["128.0.0.1", "::1", "::7f00:1"] {
                assert_eq!(
                    rules.decide(Protocol::Tcp, Role::Client, ip(address), 1),
                    Choice::Kernel
                );
            }
        }
    }

    #[test]
    fn prefixes_reach_from_everything_of_a_family_to_one_address() {
        let all_v4 = Addresses::within(ip("0.0.0.0"), 0).expect("fits");
        let all_v6 = Addresses::within(ip("::"), 0).expect("fits");
        assert!(all_v4.contain(ip("255.255.255.255")) && !all_v4.contain(ip("::")));
        assert!(all_v6.contain(ip("ffff::1")) && !all_v6.contain(ip("::ffff:1.2.3.4")));
        let one = Addresses::within(ip("fe80::1"), 128).expect("fits");
        assert!(one.contain(ip("fe80::1")) && !one.contain(ip("fe80::2")));
        assert_eq!(Addresses::within(ip("1.2.3.4"), 33), None);
        assert_eq!(Addresses::within(ip("::"), 129), None);
        assert_eq!(
            Addresses::within(ip("10.9.8.7"), 8),
            Addresses::within(ip("10.0.0.0"), 8)
        );
    }

    #[test]
    fn a_full_table_takes_no_more() {
        let mut rules = Rules::NONE;
        for _ in 0..RULES_MAX {
            assert!(rules.push(BUILT_IN[0]));
        }
        assert!(!rules.push(BUILT_IN[0]));
        assert_eq!(rules.given().len(), RULES_MAX);
    }
}
