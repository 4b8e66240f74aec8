//! Tables in Markdown that can be read as they are, too.

use std::fmt;

/// Rows of cells; the first column stands left, the others right unless their title ends with `<`.
#[derive(Debug)]
pub(super) struct Markdown {
    left: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Markdown {
    /// A table with these titles.
    pub(super) fn new<T: AsRef<str>>(titles: impl IntoIterator<Item = T>) -> Self {
        let titles: Vec<T> = titles.into_iter().collect();
        let left = titles.iter().enumerate().map(|(i, title)| i == 0 || title.as_ref().ends_with('<')).collect();
        let mut table = Self { left, rows: Vec::new() };
        table.row(titles.iter().map(|title| title.as_ref().trim_end_matches('<').to_owned()));
        table
    }

    /// Adds a row; cells that are missing at its end are empty.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        // A bar would begin another cell.
        let mut row: Vec<String> = cells.into_iter().map(|cell| cell.replace('|', "\\|")).collect();
        row.resize(self.left.len(), String::new());
        self.rows.push(row);
    }
}

impl fmt::Display for Markdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).max(3);
        let widths: Vec<usize> = (0..self.left.len()).map(width).collect();
        for (i, row) in self.rows.iter().enumerate() {
            let cells = row.iter().zip(&widths).zip(&self.left).map(|((cell, width), left)| match left {
                true => format!("{cell:<width$}"),
                false => format!("{cell:>width$}"),
            });
            writeln!(f, "| {} |", cells.collect::<Vec<_>>().join(" | "))?;
            if i == 0 {
                let rules = widths.iter().zip(&self.left).map(|(width, left)| match left {
                    true => "-".repeat(*width),
                    false => format!("{}:", "-".repeat(width - 1)),
                });
                writeln!(f, "| {} |", rules.collect::<Vec<_>>().join(" | "))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Markdown::new(["name", "variant<", "µs"]);
        table.row(["add", "plain", "12.5"].map(str::to_owned));
        table.row(["a|b"].map(str::to_owned));
        let text = "| name | variant |   µs |\n| ---- | ------- | ---: |\n| add  | plain   | 12.5 |\n\
                    | a\\|b |         |      |\n";
        assert_eq!(table.to_string(), text);
    }
}
