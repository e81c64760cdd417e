//! The table as the text of `OPTIONS.md`. Nothing there is written by hand, so nothing there can be out of date.

use core::fmt::{self, Write};

use crate::options::{Kind, OPTIONS, OPTIONS_MAX};
use crate::rule_text::GRAMMAR;
use crate::rules::{BUILT_IN_TEXT, RULES_MAX};

/// Writes the whole document.
pub fn write_markdown(out: &mut impl Write) -> fmt::Result {
    writeln!(out, "# Options\n")?;
    writeln!(
        out,
        "Made from the table in `settings/src/options.rs`; a test holds them equal. To make it again:\n"
    )?;
    writeln!(
        out,
        "    cargo run -p cli -- run --show-options --markdown > shim/OPTIONS.md\n"
    )?;
    writeln!(
        out,
        "Options are environment variables, read once when a program starts, by `libaxio.so` and by `axio run` alike \
         (`axio run --show-options` shows what holds). An empty value is as none. A variable that begins with `AXIO_` \
         and is not in this table, or a value that is not allowed, is reported in one line and the program runs \
         without acceleration. A set-uid program reads none of them. There will never be more than {OPTIONS_MAX}.\n"
    )?;
    writeln!(
        out,
        "| option | kind | allowed | default | changes what a program sees | meaning |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|")?;
    for row in OPTIONS {
        write!(out, "| `{}` | {} | ", row.name, row.kind.name())?;
        match row.kind {
            Kind::Rules => write!(out, "see below")?,
            kind => write!(Escaped(&mut *out), "{kind}")?,
        }
        write!(
            out,
            " | {} | {} | ",
            row.default,
            if row.changes_semantics { "yes" } else { "no" }
        )?;
        writeln!(out, "{} |", row.sentence)?;
    }
    write_rules(out)
}

fn write_rules(out: &mut impl Write) -> fmt::Result {
    writeln!(out, "\n## Rules\n\n    {GRAMMAR}\n")?;
    writeln!(
        out,
        "The first rule that matches a socket decides whether it may be accelerated (`fast`) or is left alone \
         (`kernel`). Rules are separated by `;` or new lines, at most {RULES_MAX} of them; `#` begins a comment.\n"
    )?;
    for line in [
        "The address and port are those of the service: a server's own (of an accepted connection the address it was \
         reached at), for a client those it connects to.",
        "IPv6 addresses stand in brackets: `[::1]/128:80`. An IPv4-mapped address is an IPv4 address, in rules and in \
         sockets. `*` means both families, `0.0.0.0/0` all of IPv4, `[::]/0` all of IPv6.",
        "Without a prefix an address means itself; bits behind the prefix are ignored. Host names are not resolved.",
        "Rules of `AXIO_RULES` come first, then those of `AXIO_RULES_FILE`, then the built-in ones.",
    ] {
        writeln!(out, "* {line}")?;
    }
    writeln!(
        out,
        "\nThe built-in rules leave name resolution to the kernel and accelerate the rest of TCP:\n"
    )?;
    for rule in BUILT_IN_TEXT.split("; ") {
        writeln!(out, "    {rule}")?;
    }
    writeln!(
        out,
        "\nSo a socket that no given rule mentions is treated as if there were no rules. To accelerate one server and \
         nothing else:\n\n    AXIO_RULES='fast tcp server *:6379; kernel * * *:*'\n\nA wrong rule is named with what \
         is allowed in its place:\n\n    axio: AXIO_RULES: rule 1: \"fsat\" cannot be used there; allowed: fast|kernel"
    )
}

/// Escapes what would end a cell of a table.
struct Escaped<'out, Out: Write>(&'out mut Out);

impl<Out: Write> Write for Escaped<'_, Out> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (index, piece) in text.split('|').enumerate() {
            if index > 0 {
                self.0.write_str("\\|")?;
            }
            self.0.write_str(piece)?;
        }
        Ok(())
    }
}
