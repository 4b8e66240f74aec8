//! A field of coloured cells: rows by columns, the value in each cell where there is room.

use maud::{Markup, html};

use super::{Px, Scale, text_width};

/// What is drawn.
#[derive(Debug)]
pub(in crate::report::html) struct HeatMap {
    /// Names of the rows, from the top.
    pub(in crate::report::html) rows: Vec<String>,
    /// Names of the columns.
    pub(in crate::report::html) columns: Vec<String>,
    /// The cells there are, in any order.
    pub(in crate::report::html) cells: Vec<Cell>,
}

/// One cell.
#[derive(Debug)]
pub(in crate::report::html) struct Cell {
    pub(in crate::report::html) row: usize,
    pub(in crate::report::html) column: usize,
    /// Decides the colour.
    pub(in crate::report::html) value: f64,
    /// Stands in the cell: some five characters.
    pub(in crate::report::html) text: String,
    /// Shown on hovering.
    pub(in crate::report::html) hint: String,
}

const CELL_WIDTH: f64 = 42.0;
const CELL_HEIGHT: f64 = 22.0;
/// Cells get lower where the map would be higher than this.
const HEIGHT: f64 = 1400.0;
const LEAST_CELL_HEIGHT: f64 = 3.0;
/// A cell with text is at least this high.
const TEXT_HEIGHT: f64 = 13.0;
const FONT: f64 = 11.0;
/// Longer labels of columns lose their beginning.
const LABEL: usize = 26;
/// Columns are labelled along this angle, in radians.
const SLANT: f64 = 0.7;

impl HeatMap {
    /// The picture, in its own size. It is put where it can be scrolled sideways.
    pub(in crate::report::html) fn draw(&self, scale: Scale) -> Markup {
        let columns: Vec<String> = self.columns.iter().map(|column| shortened(column)).collect();
        let longest = |labels: &[String]| labels.iter().map(|label| text_width(label, FONT)).fold(0.0, f64::max);
        let (left, slanted) = (longest(&self.rows) + 10.0, longest(&columns));
        let top = slanted * SLANT.sin() + 16.0;
        let cell = (HEIGHT / self.rows.len().max(1) as f64).clamp(LEAST_CELL_HEIGHT, CELL_HEIGHT);
        let right = (slanted * SLANT.cos() - CELL_WIDTH / 2.0).max(0.0) + 4.0;
        let width = left + CELL_WIDTH * self.columns.len() as f64 + right;
        let height = top + cell * self.rows.len() as f64 + 2.0;
        // Every row is labelled where there is room, else every so many.
        let every = (TEXT_HEIGHT / cell).ceil().max(1.0);
        html! {
            div.wide tabindex="0" {
                svg.map width=(Px(width)) height=(Px(height)) viewBox={ "0 0 " (Px(width)) " " (Px(height)) }
                    font-size=(FONT) role="img" aria-label="Heat map; the table below holds the same values" {
                    @for (i, column) in columns.iter().enumerate() {
                        @let (x, y) = (left + CELL_WIDTH * (i as f64 + 0.5), top - 6.0);
                        text x=(Px(x)) y=(Px(y))
                            transform={ "rotate(" (Px(-SLANT.to_degrees())) " " (Px(x)) " " (Px(y)) ")" } {
                            (column)
                        }
                    }
                    @for (i, row) in self.rows.iter().enumerate().filter(|(i, _)| *i as f64 % every == 0.0) {
                        text x=(Px(left - 6.0)) y=(Px(top + cell * (i as f64 + 0.5))) text-anchor="end"
                            dominant-baseline="central" { (row) }
                    }
                    @for c in &self.cells {
                        (c.draw(left + CELL_WIDTH * c.column as f64, top + cell * c.row as f64, cell, scale))
                    }
                }
            }
        }
    }
}

impl Cell {
    fn draw(&self, x: f64, y: f64, height: f64, scale: Scale) -> Markup {
        let colour = scale.colour(self.value);
        // Large cells stand apart; the small ones of a deep model would lose too much of themselves.
        let gap = if height < TEXT_HEIGHT { 0.0 } else { 1.0 };
        html! {
            "\n" g {
                title { (self.hint) }
                rect x=(Px(x)) y=(Px(y)) width=(Px(CELL_WIDTH - 1.0)) height=(Px(height - gap)) fill=(colour) {}
                @if height >= TEXT_HEIGHT {
                    text x=(Px(x + CELL_WIDTH / 2.0)) y=(Px(y + height / 2.0)) text-anchor="middle"
                        dominant-baseline="central" style={ "fill:" (colour.ink()) } { (self.text) }
                }
            }
        }
    }
}

/// A label without its beginning, if it is long: names differ at their ends.
fn shortened(label: &str) -> String {
    let count = label.chars().count();
    match count > LABEL {
        true => std::iter::once('…').chain(label.chars().skip(count - LABEL + 1)).collect(),
        false => label.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(rows: usize) -> String {
        let cell = |row| Cell { row, column: 0, value: 1.0, text: "<1>".into(), hint: "a & b".into() };
        let rows_named = (0..rows).map(|row| row.to_string()).collect();
        let map = HeatMap { rows: rows_named, columns: vec!["q<".into()], cells: (0..rows).map(cell).collect() };
        map.draw(Scale::over([1.0].into_iter(), 1.0)).into_string()
    }

    #[test]
    fn labels_and_hints_are_escaped() {
        let drawn = map(2);
        for part in ["&lt;1&gt;", "<title>a &amp; b</title>", ">q&lt;<"] {
            assert!(drawn.contains(part), "{drawn}");
        }
    }

    #[test]
    fn a_deep_model_has_lower_cells_with_fewer_labels() {
        let drawn = map(400);
        assert_eq!((drawn.matches("<rect").count(), drawn.matches("&lt;1&gt;").count()), (400, 0));
        let labels = drawn.matches("text-anchor=\"end\"").count();
        assert!((80..=110).contains(&labels), "{labels}");
    }

    #[test]
    fn long_labels_keep_their_end() {
        let long = shortened(&format!("{}.q_proj", "x".repeat(100)));
        assert_eq!((long.chars().count(), long.ends_with("x.q_proj")), (LABEL, true));
    }
}
