//! How tables look: lines on a terminal, as wide as it is; in a pipe wide enough for every cell, so that `grep` works.

use comfy_table::{ContentArrangement, LineStyle, Table};
use console::Term;

/// A table with these titles.
pub fn table(titles: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    if let Some((_, columns)) = Term::stdout().size_checked() {
        table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(columns);
    }
    table.set_header(titles);
    table
}
