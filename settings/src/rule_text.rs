//! The grammar of rules:
//!
//! ```text
//! rules     = { rule ( ";" | newline ) }                   "#" begins a comment, to the end of its line
//! rule      = choice protocol role endpoint                separated by blanks
//! choice    = "fast" | "kernel"
//! protocol  = "tcp" | "udp" | "*"
//! role      = "server" | "client" | "*"
//! endpoint  = ( IPv4 [ "/" prefix ] | "[" IPv6 "]" [ "/" prefix ] | "*" ) ":" ( port [ "-" port ] | "*" )
//! ```
//!
//! `*` as an address means both families, `0.0.0.0/0` all of IPv4, `[::]/0` all of IPv6. An IPv4-mapped address is an
//! IPv4 address; its prefix counts from 96. Bits behind the prefix are ignored.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::error::Quoted;
use crate::rules::{Addresses, Choice, Protocol, RULES_MAX, Role, Rule, Rules};

/// The grammar in one line, for messages and documents.
pub const GRAMMAR: &str =
    "<fast|kernel> <tcp|udp|*> <server|client|*> <address[/prefix]|*>:<port[-port]|*>";

/// Part of a rule that could not be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// First word.
    Choice,
    /// Second word.
    Protocol,
    /// Third word.
    Role,
    /// Fourth word as a whole.
    Endpoint,
    /// The address in it.
    Address,
    /// The prefix of an IPv4 address.
    PrefixV4,
    /// The prefix of an IPv6 address.
    PrefixV6,
    /// The prefix of an IPv4-mapped address.
    PrefixMapped,
    /// The port or ports.
    Ports,
    /// A fifth word.
    End,
    /// More rules than the table holds.
    Table,
}

impl Part {
    /// What may stand there.
    #[must_use]
    pub const fn allowed(self) -> &'static str {
        match self {
            Part::Choice => "fast|kernel",
            Part::Protocol => "tcp|udp|*",
            Part::Role => "server|client|*",
            Part::Endpoint => {
                "<address[/prefix]|*>:<port[-port]|*>, an IPv6 address in brackets as in [::1]/128:80"
            }
            Part::Address => "an IPv4 address, an IPv6 address in brackets, or *",
            Part::PrefixV4 => "a prefix of 0 to 32",
            Part::PrefixV6 => "a prefix of 0 to 128",
            Part::PrefixMapped => "a prefix of 96 to 128 for an IPv4-mapped address",
            Part::Ports => "a port of 1 to 65535, a range such as 80-90, or *",
            Part::End => "; or a new line after each rule",
            Part::Table => "at most 64 rules",
        }
    }
}

const _: () = assert!(RULES_MAX == 64, "the sentence above names the number");

/// Where and why a text is not rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleError<'text> {
    /// Which rule, counted from 1; empty ones and comments do not count.
    pub rule: usize,
    /// Line it stands in, counted from 1.
    pub line: usize,
    /// The word that cannot be understood; empty when the rule ends too early.
    pub word: &'text [u8],
    /// What was expected there.
    pub part: Part,
}

/// Shows `rule 2: "fsat" cannot be used there; allowed: fast|kernel`.
impl fmt::Display for RuleError<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "rule {}", self.rule)?;
        if self.line > 1 {
            write!(formatter, " (line {})", self.line)?;
        }
        if self.part == Part::Table {
            formatter.write_str(" is one too many")?;
        } else if self.word.is_empty() {
            formatter.write_str(" ends too early")?;
        } else {
            write!(formatter, ": {} cannot be used there", Quoted(self.word))?;
        }
        write!(formatter, "; allowed: {}", self.part.allowed())
    }
}

impl Rules {
    /// Adds the rules of a text behind those that are there. After an error the table holds the rules before the bad
    /// one, which is no table to work with: the caller turns acceleration off.
    pub fn add_text<'text>(&mut self, text: &'text [u8]) -> Result<(), RuleError<'text>> {
        let mut rule_number = 0;
        for (line_index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = line.split(|byte| *byte == b'#').next().unwrap_or(line);
            for rule in line.split(|byte| *byte == b';') {
                if rule.trim_ascii().is_empty() {
                    continue;
                }
                rule_number += 1;
                let error = |(word, part)| RuleError {
                    rule: rule_number,
                    line: line_index + 1,
                    word,
                    part,
                };
                let parsed = parse_rule(rule).map_err(error)?;
                if !self.push(parsed) {
                    return Err(error((rule, Part::Table)));
                }
            }
        }
        Ok(())
    }
}

type Bad<'text> = (&'text [u8], Part);

fn parse_rule(text: &[u8]) -> Result<Rule, Bad<'_>> {
    let mut words = text
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    let mut next = || words.next().unwrap_or(b"");
    let choice = match next() {
        b"fast" => Choice::Fast,
        b"kernel" => Choice::Kernel,
        other => return Err((other, Part::Choice)),
    };
    let protocol = match next() {
        b"tcp" => Some(Protocol::Tcp),
        b"udp" => Some(Protocol::Udp),
        b"*" => None,
        other => return Err((other, Part::Protocol)),
    };
    let role = match next() {
        b"server" => Some(Role::Server),
        b"client" => Some(Role::Client),
        b"*" => None,
        other => return Err((other, Part::Role)),
    };
    let (addresses, (first_port, last_port)) = parse_endpoint(next())?;
    match next() {
        b"" => Ok(Rule {
            choice,
            protocol,
            role,
            addresses,
            first_port,
            last_port,
        }),
        other => Err((other, Part::End)),
    }
}

fn parse_endpoint(word: &[u8]) -> Result<(Addresses, (u16, u16)), Bad<'_>> {
    let colon = word.iter().rposition(|byte| *byte == b':');
    let (Some(address), Some(ports)) = (
        colon.and_then(|colon| word.get(..colon)),
        colon.and_then(|colon| word.get(colon + 1..)),
    ) else {
        return Err((word, Part::Endpoint));
    };
    // `::1:80` and `[::1]` lack a bracket or the port; say so about the whole word.
    let bracketed = address.starts_with(b"[");
    if address.is_empty() || ports.contains(&b']') || (!bracketed && address.contains(&b':')) {
        return Err((word, Part::Endpoint));
    }
    let addresses = parse_addresses(address)?;
    let ports =
        parse_ports(ports).ok_or((if ports.is_empty() { word } else { ports }, Part::Ports))?;
    Ok((addresses, ports))
}

fn parse_addresses(word: &[u8]) -> Result<Addresses, Bad<'_>> {
    if word == b"*" {
        return Ok(Addresses::Any);
    }
    let mut halves = word.splitn(2, |byte| *byte == b'/');
    let address = halves.next().unwrap_or(word);
    let prefix = halves.next();
    let parsed = match address.strip_prefix(b"[") {
        Some(rest) => rest
            .strip_suffix(b"]")
            .and_then(parsed::<Ipv6Addr>)
            .map(IpAddr::V6),
        None => parsed::<Ipv4Addr>(address).map(IpAddr::V4),
    };
    let parsed = parsed.ok_or((address, Part::Address))?;
    let canonical = parsed.to_canonical();
    // Bits of the text's address that its canonical form does not have: those of the mapping.
    let (mapping_bits, full, part) = match (parsed, canonical) {
        (IpAddr::V6(_), IpAddr::V4(_)) => (96, 32, Part::PrefixMapped),
        (_, IpAddr::V4(_)) => (0, 32, Part::PrefixV4),
        (_, IpAddr::V6(_)) => (0, 128, Part::PrefixV6),
    };
    let bits = match prefix {
        None => full,
        Some(text) => number(text)
            .and_then(|bits| bits.checked_sub(mapping_bits))
            .and_then(|bits| u8::try_from(bits).ok())
            .ok_or((if text.is_empty() { word } else { text }, part))?,
    };
    Addresses::within(canonical, bits).ok_or((prefix.unwrap_or(word), part))
}

fn parse_ports(word: &[u8]) -> Option<(u16, u16)> {
    if word == b"*" {
        return Some((0, u16::MAX));
    }
    let mut halves = word.splitn(2, |byte| *byte == b'-');
    let first = port(halves.next()?)?;
    let last = match halves.next() {
        Some(text) => port(text)?,
        None => first,
    };
    (first <= last).then_some((first, last))
}

fn port(text: &[u8]) -> Option<u16> {
    number(text)
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port > 0)
}

/// A decimal number without sign; more digits than any option or port has are refused.
pub(crate) fn number(text: &[u8]) -> Option<u32> {
    if text.is_empty() || text.len() > 9 {
        return None;
    }
    text.iter().try_fold(0u32, |value, digit| {
        digit
            .is_ascii_digit()
            .then(|| value * 10 + u32::from(digit - b'0'))
    })
}

fn parsed<Address: core::str::FromStr>(text: &[u8]) -> Option<Address> {
    core::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::format;
    use std::string::{String, ToString};

    fn parse(text: &str) -> Result<Rules, String> {
        let mut rules = Rules::NONE;
        match rules.add_text(text.as_bytes()) {
            Ok(()) => Ok(rules),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn every_form_of_an_endpoint_is_read() {
        let endpoint = |text: &str| {
            let rules = parse(&format!("fast * * {text}")).expect(text);
            let rule = rules.given()[0];
            (rule.addresses, rule.first_port, rule.last_port)
        };
        let within = |address: &str, bits| {
            Addresses::within(address.parse().expect("address"), bits).expect("fits")
        };
        assert_eq!(endpoint("*:*"), (Addresses::Any, 0, 65535));
        assert_eq!(endpoint("*:80"), (Addresses::Any, 80, 80));
        assert_eq!(endpoint("*:1-65535"), (Addresses::Any, 1, 65535));
        assert_eq!(endpoint("127.0.0.1:80"), (within("127.0.0.1", 32), 80, 80));
        assert_eq!(
            endpoint("10.0.0.0/8:80-90"),
            (within("10.0.0.0", 8), 80, 90)
        );
        assert_eq!(endpoint("[::1]:80"), (within("::1", 128), 80, 80));
        assert_eq!(endpoint("[::1]/128:80"), (within("::1", 128), 80, 80));
        assert_eq!(endpoint("[fe80::]/10:*"), (within("fe80::", 10), 0, 65535));
        assert_eq!(
            endpoint("[::ffff:10.0.0.0]/104:1"),
            (within("10.0.0.0", 8), 1, 1)
        );
        assert_eq!(
            endpoint("[::ffff:10.0.0.1]:1"),
            (within("10.0.0.1", 32), 1, 1)
        );
        assert_eq!(endpoint("0.0.0.0/0:1"), (within("0.0.0.0", 0), 1, 1));
    }

    #[test]
    fn separators_comments_and_blanks() {
        let text = "# for the cache\nfast tcp server *:6379 # redis\n\n ;; kernel\t*  *   *:22 ;fast udp client *:1\r\n";
        let rules = parse(text).expect("good");
        assert_eq!(rules.given().len(), 3);
        assert_eq!(rules.given()[0].role, Some(Role::Server));
        assert_eq!(rules.given()[1].choice, Choice::Kernel);
        assert_eq!(rules.given()[2].protocol, Some(Protocol::Udp));
        assert_eq!(parse(" \n# nothing\n;").expect("empty").given().len(), 0);
    }

    #[test]
    fn errors_name_the_rule_the_word_and_what_is_allowed() {
        for (text, message) in [
            (
                "fsat tcp * *:1",
                "rule 1: \"fsat\" cannot be used there; allowed: fast|kernel",
            ),
            (
                "fast * * *:1; fast TCP * *:1",
                "rule 2: \"TCP\" cannot be used there; allowed: tcp|udp|*",
            ),
            (
                "\n#\nfast tcp both *:1",
                "rule 1 (line 3): \"both\" cannot be used there; allowed: server|client|*",
            ),
            (
                "fast tcp",
                "rule 1 ends too early; allowed: server|client|*",
            ),
            (
                "fast tcp * *:1 now",
                "rule 1: \"now\" cannot be used there; allowed: ; or a new line after each rule",
            ),
        ] {
            assert_eq!(parse(text), Err(message.to_string()), "{text}");
        }
        for (word, blamed, part) in [
            ("80", "80", Part::Endpoint),
            ("::1:80", "::1:80", Part::Endpoint),
            ("[::1]", "[::1]", Part::Endpoint),
            (":80", ":80", Part::Endpoint),
            ("localhost:80", "localhost", Part::Address),
            ("1.2.3:80", "1.2.3", Part::Address),
            ("01.2.3.4:80", "01.2.3.4", Part::Address),
            ("[::1:80", "[::1", Part::Address),
            ("[1.2.3.4]:80", "[1.2.3.4]", Part::Address),
            ("[fe80::1%eth0]:80", "[fe80::1%eth0]", Part::Address),
            ("10.0.0.0/33:80", "33", Part::PrefixV4),
            ("10.0.0.0/:80", "10.0.0.0/", Part::PrefixV4),
            ("10.0.0.0/+8:80", "+8", Part::PrefixV4),
            ("[::1]/129:80", "129", Part::PrefixV6),
            ("[::1]/1000:80", "1000", Part::PrefixV6),
            ("[::ffff:1.2.3.4]/32:80", "32", Part::PrefixMapped),
            ("[::ffff:1.2.3.4]/129:80", "129", Part::PrefixMapped),
            ("*/8:80", "*", Part::Address),
            ("*:", "*:", Part::Ports),
            ("*:0", "0", Part::Ports),
            ("*:65536", "65536", Part::Ports),
            ("*:90-80", "90-80", Part::Ports),
            ("*:80-", "80-", Part::Ports),
            ("*:http", "http", Part::Ports),
            (
                "*:99999999999999999999",
                "99999999999999999999",
                Part::Ports,
            ),
        ] {
            let text = format!("kernel * * {word}");
            let mut rules = Rules::NONE;
            let error = rules.add_text(text.as_bytes()).expect_err(&text);
            assert_eq!(
                (error.word, error.part),
                (blamed.as_bytes(), part),
                "{word}"
            );
        }
    }

    #[test]
    fn a_text_with_too_many_rules_says_how_many_are_allowed() {
        let text = "fast * * *:1;".repeat(RULES_MAX);
        assert_eq!(parse(&text).expect("fits").given().len(), RULES_MAX);
        assert_eq!(
            parse(&format!("{text} fast * * *:1")),
            Err("rule 65 is one too many; allowed: at most 64 rules".to_string())
        );
    }
}
