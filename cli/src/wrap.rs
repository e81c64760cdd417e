//! Text in lines that fit a terminal.

/// Widest line of what this command says in sentences.
pub const COLUMNS: usize = 100;

/// `text` in lines of at most `columns`, unless a word is longer.
pub fn wrapped(text: &str, columns: usize) -> String {
    let mut lines = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        let width = word.chars().count();
        if column > 0 && column + 1 + width > columns {
            lines.push('\n');
            column = 0;
        } else if column > 0 {
            lines.push(' ');
            column += 1;
        }
        lines.push_str(word);
        column += width;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_no_wider_than_a_terminal_and_lose_no_word() {
        let text = "word ".repeat(100) + &"x".repeat(150);
        let lines = wrapped(&text, COLUMNS);
        assert!(
            lines
                .lines()
                .all(|line| line.len() <= COLUMNS || !line.contains(' '))
        );
        assert_eq!(lines.split_whitespace().count(), 101);
    }
}
