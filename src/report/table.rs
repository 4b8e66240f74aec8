//! Columns of text.

use std::fmt;

/// Rows of equal length; the first column stands left, the others as [`Self::new`] says.
#[derive(Debug)]
pub(super) struct Table<const N: usize> {
    right: [bool; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// A table with these titles; those of numbers begin with `>` and stand right.
    pub(super) fn new(titles: [&str; N]) -> Self {
        let right = titles.map(|title| title.starts_with('>'));
        Self { right, rows: vec![titles.map(|title| title.trim_start_matches('>').to_owned())] }
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }
}

impl<const N: usize> fmt::Display for Table<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..N).map(width).collect();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).zip(self.right).map(|((cell, width), right)| match right {
                true => format!("{cell:>width$}"),
                false => format!("{cell:<width$}"),
            });
            let line = cells.collect::<Vec<_>>().join("  ");
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(["name", ">bytes", "type"]);
        table.row(["a".into(), "5".into(), "F32".into()]);
        table.row(["longer".into(), "12345".into(), "F16".into()]);
        assert_eq!(table.to_string(), "name    bytes  type\na           5  F32\nlonger  12345  F16\n");
    }
}
