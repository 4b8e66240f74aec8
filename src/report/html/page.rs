//! The frame of every report, and the parts that reports are made of.

use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("page.css");

/// Whatever a name in a model might say, the page loads nothing and runs nothing.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// A whole page. `title` is plain text; `lead` is one line under it.
pub(super) fn page(title: &str, lead: &Markup, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header { h1 { bdi { (title) } } p.lead { (lead) } }
                main { (body) }
                footer { "Made by bitsmith " (env!("CARGO_PKG_VERSION")) "." }
            }
        }
    };
    page.into_string()
}

/// A part of a page under its own heading.
pub(super) fn section(heading: &str, content: &Markup) -> Markup {
    html! { "\n" section { h2 { (heading) } (content) } }
}

/// A number that a reader should see first.
pub(super) struct Card {
    pub(super) label: &'static str,
    pub(super) value: Markup,
    pub(super) detail: Markup,
}

/// The first numbers of a page, beside each other as far as there is room.
pub(super) fn cards(cards: &[Card]) -> Markup {
    html! {
        "\n" div.cards {
            @for card in cards {
                div.card { p.label { (card.label) } p.value { (card.value) } p.detail { (card.detail) } }
            }
        }
    }
}

/// Values by name, one a line.
pub(super) fn values(rows: &[(&str, Markup)]) -> Markup {
    html! {
        table.values {
            @for (name, value) in rows { "\n" tr { th scope="row" { (name) } td { (value) } } }
        }
    }
}

/// A table of many rows that scrolls sideways where it is too wide. Titles of numbers begin with `>`.
pub(super) fn table<const N: usize>(titles: [&str; N], rows: impl Iterator<Item = [Markup; N]>) -> Markup {
    let class = titles.map(|title| title.starts_with('>').then_some("number"));
    html! {
        div.wide tabindex="0" {
            table.rows {
                thead { tr {
                    @for (title, class) in titles.iter().zip(class) {
                        th scope="col" class=[class] { (title.trim_start_matches('>')) }
                    }
                } }
                tbody {
                    @for row in rows {
                        "\n" tr { @for (cell, class) in row.iter().zip(class) { td class=[class] { (cell) } } }
                    }
                }
            }
        }
    }
}
