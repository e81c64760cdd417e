//! What an environment means, and that no environment whatsoever does harm.

use proptest::prelude::*;
use settings::error::{ErrorKind, LINE_BYTES};
use settings::options::{DefaultValue, Kind, OPTIONS, OptionKey};
use settings::parse::{ERRORS_MAX, Errors, split_variable};
use settings::{Choice, LogLevel, Mode, Protocol, Role, Settings, Upgrade};

fn parse<'text>(variables: &[(&'text str, &'text str)]) -> (Settings, Errors<'text>) {
    Settings::parse(
        true,
        variables
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes())),
    )
}

fn lines(errors: &Errors<'_>) -> Vec<String> {
    let line = |error: &settings::SettingsError<'_>| {
        let mut buffer = [0; LINE_BYTES];
        let length = error.write_line(&mut buffer);
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    errors.iter().map(line).collect()
}

#[test]
fn every_option_is_understood() {
    let (settings, errors) = parse(&[
        ("PATH", "/bin"),
        ("AXIO", "on"),
        ("AXIO_RULES", "kernel tcp * *:80"),
        ("AXIO_RULES_FILE", "/etc/axio.rules"),
        ("AXIO_UPGRADE", "eager"),
        ("AXIO_SPIN_US", "0"),
        ("AXIO_STRICT", "1"),
        ("AXIO_REPORT", "/tmp/report"),
        ("AXIO_LOG", "debug"),
        ("AXIO_SLOTS", "16"),
    ]);
    assert!(errors.is_empty(), "{:?}", lines(&errors));
    assert_eq!(settings.mode, Mode::On);
    assert_eq!(settings.rules.given().len(), 1);
    assert_eq!(settings.rules_file.as_bytes(), b"/etc/axio.rules");
    assert_eq!(settings.upgrade, Upgrade::Eager);
    assert_eq!(settings.spin_us, Some(0));
    assert!(settings.strict);
    assert_eq!(settings.report.as_c_str(), c"/tmp/report");
    assert_eq!(settings.log, LogLevel::Debug);
    assert_eq!(settings.slots, 16);
}

#[test]
fn defaults_are_those_of_the_table() {
    for preloaded in [true, false] {
        let mut written = Vec::new();
        for row in OPTIONS {
            match row.default {
                DefaultValue::Value(value) => written.push((row.name, value)),
                DefaultValue::HowLoaded {
                    preloaded: value, ..
                } if preloaded => written.push((row.name, value)),
                DefaultValue::HowLoaded { linked: value, .. } => written.push((row.name, value)),
                DefaultValue::Unset(_) => {}
            }
        }
        let as_bytes = written
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let (settings, errors) = Settings::parse(preloaded, as_bytes);
        assert!(errors.is_empty());
        assert_eq!(settings, Settings::defaults(preloaded));
        let (settings, errors) = Settings::parse(preloaded, std::iter::empty());
        assert!(errors.is_empty());
        assert_eq!(settings, Settings::defaults(preloaded));
    }
}

#[test]
fn every_word_and_both_ends_of_every_range_are_taken_and_nothing_beside_them() {
    let accepted = |name: &str, value: &str| parse(&[(name, value)]).1.is_empty();
    for row in OPTIONS {
        match row.kind {
            Kind::Words(words) => {
                for word in words {
                    assert!(accepted(row.name, word));
                    assert!(!accepted(row.name, &format!("{word} ")));
                    assert!(
                        !accepted(row.name, &word.to_uppercase()) || *word == word.to_uppercase()
                    );
                }
            }
            Kind::Number { least, most } => {
                assert!(
                    accepted(row.name, &least.to_string()) && accepted(row.name, &most.to_string())
                );
                assert!(!accepted(row.name, &(most + 1).to_string()));
                assert!(least == 0 || !accepted(row.name, &(least - 1).to_string()));
                for text in ["-1", "+5", "5us", "0x10", " 20", "99999999999"] {
                    assert!(!accepted(row.name, text), "{}={text}", row.name);
                }
            }
            Kind::Path => {
                assert!(accepted(row.name, "/x"));
                assert!(!accepted(row.name, &"x".repeat(4096)));
            }
            Kind::Rules => assert!(!accepted(row.name, "quick")),
        }
    }
}

#[test]
fn a_misspelt_option_or_value_turns_acceleration_off_and_says_so_in_one_line() {
    let (settings, errors) = parse(&[
        ("AXIO_STRICT", "1"),
        ("AXIO_RULE", "x"),
        ("AXIO_SPIN_US", "1001"),
        ("AXIO_RULES", "fast tcp server *:6379; fsat * * *:*"),
        ("AXIO_SKY", "blue"),
    ]);
    assert_eq!(settings.mode, Mode::Off);
    assert!(settings.strict, "what else was understood holds");
    assert_eq!(
        lines(&errors),
        [
            "axio: AXIO_RULE: there is no such option, did you mean AXIO_RULES?; allowed: AXIO AXIO_RULES AXIO_RULES_FILE \
             AXIO_UPGRADE AXIO_SPIN_US AXIO_STRICT AXIO_REPORT AXIO_LOG AXIO_SLOTS\n",
            "axio: AXIO_SPIN_US: \"1001\" is not allowed; allowed: 0 to 1000\n",
            "axio: AXIO_RULES: rule 2: \"fsat\" cannot be used there; allowed: fast|kernel\n",
            "axio: AXIO_SKY: there is no such option; allowed: AXIO AXIO_RULES AXIO_RULES_FILE \
             AXIO_UPGRADE AXIO_SPIN_US AXIO_STRICT AXIO_REPORT AXIO_LOG AXIO_SLOTS\n",
        ]
    );
}

#[test]
fn the_first_of_two_counts_and_an_empty_value_is_none() {
    let (settings, errors) = parse(&[("AXIO_LOG", "info"), ("AXIO_LOG", "nonsense"), ("AXIO", "")]);
    assert!(errors.is_empty());
    assert_eq!((settings.log, settings.mode), (LogLevel::Info, Mode::On));
}

#[test]
fn errors_beyond_the_table_are_counted() {
    let names: Vec<String> = (0..20).map(|index| format!("AXIO_{index}")).collect();
    let (settings, errors) =
        Settings::parse(true, names.iter().map(|name| (name.as_bytes(), &b"1"[..])));
    assert_eq!((errors.count(), errors.iter().count()), (20, ERRORS_MAX));
    assert_eq!(settings.mode, Mode::Off);
}

#[test]
fn rules_of_the_file_stand_behind_those_of_the_environment() {
    let (mut settings, _) = parse(&[
        ("AXIO_RULES", "fast tcp * *:80"),
        ("AXIO_RULES_FILE", "/rules"),
    ]);
    settings
        .add_rules_file(b"/rules", Some(b"kernel tcp * *:*\n"))
        .expect("good");
    let decide = |port| {
        settings
            .rules
            .decide(Protocol::Tcp, Role::Client, [127, 0, 0, 1].into(), port)
    };
    assert_eq!((decide(80), decide(81)), (Choice::Fast, Choice::Kernel));
}

#[test]
fn a_bad_or_unreadable_file_turns_acceleration_off() {
    let (mut settings, _) = parse(&[]);
    let error = settings
        .add_rules_file(b"/rules", Some(b"\n\nfast\n"))
        .expect_err("bad");
    assert_eq!(
        error.to_string(),
        "AXIO_RULES_FILE: rule 1 (line 3) ends too early; allowed: tcp|udp|*"
    );
    assert_eq!(settings.mode, Mode::Off);
    let (mut settings, _) = parse(&[]);
    let error = settings
        .add_rules_file(b"/rules", None)
        .expect_err("unreadable");
    assert_eq!(error.kind, ErrorKind::UnreadableFile);
    assert_eq!(settings.mode, Mode::Off);
}

#[test]
fn variables_are_split_at_the_first_equals_sign() {
    assert_eq!(split_variable(b"A=b=c"), Some((&b"A"[..], &b"b=c"[..])));
    assert_eq!(split_variable(b"A="), Some((&b"A"[..], &b""[..])));
    assert_eq!(split_variable(b"A"), None);
}

/// Text near the grammar, so that the depths of the parser are reached and not only its first word.
fn nearly_rules() -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(vec![
        "fast",
        "kernel",
        "tcp",
        "udp",
        "server",
        "client",
        "*",
        "*:*",
        "*:1-2",
        "[::1]/128:80",
        "1.2.3.4/8:9",
        ":",
        "/",
        "-",
        "[",
        "]",
        "65536",
        "0",
        "#",
        ";",
        "\n",
        " ",
        " ",
        " ",
        "::ffff:1.2.3.4",
        "99999999999999999999",
    ]);
    prop::collection::vec(word, 0..60).prop_map(|words| words.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_do_harm(
        option in prop::sample::select(OPTIONS.iter().map(|row| row.name).collect::<Vec<_>>()),
        value in prop_oneof![prop::collection::vec(any::<u8>(), 0..5000), nearly_rules()],
        name in prop::collection::vec(any::<u8>(), 0..80),
        room in 0usize..600,
    ) {
        let odd_name = [b"AXIO_", &name[..]].concat();
        let variables = [(option.as_bytes(), &value[..]), (&odd_name[..], &value[..])];
        let (mut settings, errors) = Settings::parse(true, variables.into_iter());
        prop_assert!(!errors.is_empty() && settings.mode == Mode::Off);
        let mut buffer = vec![0; room];
        for error in errors.iter() {
            let length = error.write_line(&mut buffer);
            prop_assert!(length <= room);
            prop_assert!(room == 0 || buffer[..length].iter().filter(|byte| **byte == b'\n').count() == 1);
        }
        let _ = settings.add_rules_file(b"/f", Some(&value));
        let _ = settings.rules.decide(Protocol::Tcp, Role::Client, [1, 2, 3, 4].into(), 80);
        let _ = split_variable(&value);
    }

    #[test]
    fn a_rule_that_is_written_by_the_grammar_means_what_it_says(
        fast in any::<bool>(),
        protocol in 0usize..3,
        role in 0usize..3,
        network in any::<u32>(),
        prefix in 0u32..=32,
        ports in (1u16.., 1u16..),
        asked in (any::<bool>(), any::<bool>(), any::<u32>(), any::<u16>(), any::<bool>()),
    ) {
        let (first, last) = (ports.0.min(ports.1), ports.0.max(ports.1));
        let text = format!(
            "{} {} {} {}/{prefix}:{first}-{last}; {} * * *:*",
            if fast { "fast" } else { "kernel" }, ["tcp", "udp", "*"][protocol], ["server", "client", "*"][role],
            std::net::Ipv4Addr::from(network), if fast { "kernel" } else { "fast" },
        );
        let (settings, errors) = parse(&[("AXIO_RULES", &text)]);
        prop_assert!(errors.is_empty(), "{:?}", lines(&errors));
        let (is_udp, is_client, random_address, port, near) = asked;
        // Random addresses hardly ever share a long prefix, so half of them are taken from the network itself.
        let host_bits = u32::MAX.checked_shr(prefix).unwrap_or(0);
        let address = if near { (network & !host_bits) | (random_address & host_bits) } else { random_address };
        let matches = (protocol == 2 || (protocol == 1) == is_udp)
            && (role == 2 || (role == 1) == is_client)
            && (address ^ network) & !host_bits == 0
            && (first..=last).contains(&port);
        let choice = settings.rules.decide(
            if is_udp { Protocol::Udp } else { Protocol::Tcp },
            if is_client { Role::Client } else { Role::Server },
            std::net::Ipv4Addr::from(address).into(),
            port,
        );
        prop_assert_eq!(choice, if matches == fast { Choice::Fast } else { Choice::Kernel }, "{}", text);
    }
}

#[test]
fn keys_have_one_row_each_and_are_all_stored() {
    // A row whose value were dropped would leave the defaults as they are.
    for row in OPTIONS {
        let value = match row.key {
            OptionKey::Mode => "off",
            OptionKey::Rules => "kernel * * *:*",
            OptionKey::RulesFile | OptionKey::Report => "/x",
            OptionKey::Upgrade => "eager",
            OptionKey::SpinMicroseconds => "7",
            OptionKey::Strict => "1",
            OptionKey::Log => "warn",
            OptionKey::Slots => "17",
        };
        assert_ne!(
            parse(&[(row.name, value)]).0,
            Settings::defaults(true),
            "{}",
            row.name
        );
    }
}
