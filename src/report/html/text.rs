//! Names and numbers as a page shows them.

use maud::{Markup, html};

use crate::report::number::value;
use crate::report::visible::picture;

/// Characters of a name on the page; longer ones lose their middle.
const SHOWN: usize = 160;
/// Characters of a name where the whole of it is told.
const WHOLE: usize = 1000;

/// A name out of a model file, which may hold anything: set apart from the text around it, so that right-to-left
/// characters reorder nothing else.
pub(super) fn name(name: &str) -> Markup {
    let shown = clean(name, SHOWN);
    let whole = (name.chars().count() > SHOWN).then(|| clean(name, WHOLE));
    html! { code.name title=[whole] { bdi { (shown) } } }
}

/// A name for places without markup, such as the text that appears on hovering.
pub(super) fn plain_name(name: &str) -> String {
    clean(name, SHOWN)
}

/// Other text that came from outside: whole, unless it is very long.
pub(super) fn line(text: &str) -> String {
    clean(text, WHOLE)
}

/// The text with control characters made visible and, if it is longer than `most` characters, without its middle.
fn clean(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.chars().map(picture).collect();
    }
    let (head, tail) = (most / 2, most - most / 2 - 1);
    let start = text.chars().take(head).map(picture);
    let end = text.chars().skip(count - tail).map(picture);
    start.chain(std::iter::once('…')).chain(end).collect()
}

/// A number as `shown`, with all its digits for programs and for those who hover; in words if it is none.
pub(super) fn data(exact: f64, shown: impl FnOnce(f64) -> String) -> Markup {
    match words(exact) {
        Some(words) => html! { (words) },
        None => html! { data value=(exact) title=(exact) { (shown(exact)) } },
    }
}

/// A number with six significant digits, or words.
pub(super) fn number(number: f64) -> Markup {
    data(number, value)
}

/// A number with six significant digits for places without markup.
pub(super) fn plain_number(number: f64) -> String {
    words(number).map_or_else(|| value(number), str::to_owned)
}

fn words(number: f64) -> Option<&'static str> {
    match number {
        n if n.is_nan() => Some("not a number"),
        f64::INFINITY => Some("infinite"),
        f64::NEG_INFINITY => Some("minus infinite"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_safe_to_look_at() {
        assert_eq!(name("a<b>&\"c").into_string(), "<code class=\"name\"><bdi>a&lt;b&gt;&amp;&quot;c</bdi></code>");
        assert_eq!(plain_name("a\nb\u{7f}c\u{85}d\u{ffff}"), "a␊b␡c�d�");
        assert_eq!(plain_name("größe.層"), "größe.層");
        let long = format!("{}{}", "a".repeat(5000), "z".repeat(5000));
        let shown = plain_name(&long);
        assert_eq!(shown.chars().count(), SHOWN);
        assert!(shown.starts_with("aaa") && shown.ends_with("zzz") && shown.contains('…'));
        assert!(name(&long).into_string().len() < 2 * WHOLE);
    }

    #[test]
    fn numbers_that_are_none_are_words() {
        for (value, words) in
            [(f64::NAN, "not a number"), (f64::INFINITY, "infinite"), (f64::NEG_INFINITY, "minus infinite")]
        {
            assert_eq!((number(value).into_string(), plain_number(value)), (words.to_owned(), words.to_owned()));
        }
        assert_eq!(number(1.0 / 3.0).into_string().matches("0.3333333333333333").count(), 2);
        assert!(number(1.0 / 3.0).into_string().contains(">0.333333<"));
    }
}
