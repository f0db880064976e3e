//! What a style sheet costs: the renderer copies the declarations of a rule for each of its selectors, compares each selector with each
//! element, and tries every ancestor for every word of a selector.
//!
//! Counts upwards where a text can be read in more than one way, and refuses what it can't count.

use super::Flaw;

/// What style sheets come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cost {
    /// Copies of declarations.
    pub(super) declarations: u64,
    /// Comparisons with one element.
    pub(super) comparisons: u64,
    /// Whether attributes other than classes and ids are looked at.
    pub(super) attributes: bool,
}

impl Cost {
    /// Adds what a style sheet in a document of this depth costs.
    pub(super) fn add(&mut self, sheet: &str, depth: usize) -> Result<(), Flaw> {
        let plain = plain(sheet).ok_or_else(|| {
            Flaw::Unsupported("this drawing has a style sheet that cannot be read with certainty".to_owned())
        })?;
        self.attributes |= plain.contains('[');
        for rule in plain.split('}') {
            let count = |letter| rule.matches(letter).count() as u64;
            let selectors = count(',') + count('{');
            let declarations = count(';') + 1;
            self.declarations = self.declarations.saturating_add(selectors.saturating_mul(declarations));
            let Some((prelude, _)) = rule.rsplit_once('{') else { continue };
            for selector in prelude.split(',') {
                let words =
                    selector.split_ascii_whitespace().filter(|word| !matches!(*word, ">" | "+")).count();
                self.comparisons = self.comparisons.saturating_add(ways(depth, words.saturating_sub(1)));
            }
        }
        Ok(())
    }
}

/// How many ways there are to choose so many ancestors of `depth`.
fn ways(depth: usize, words: usize) -> u64 {
    let (depth, words) = (depth.max(words) as u64, words.min(depth) as u64);
    (0..words).fold(1u64, |ways, chosen| ways.saturating_mul(depth - chosen) / (chosen + 1)).max(1)
}

/// The sheet with its comments gone and its strings empty; `None` if a reader that knows no strings would see it in another way.
fn plain(sheet: &str) -> Option<String> {
    let mut plain = String::with_capacity(sheet.len());
    let mut rest = sheet;
    while let Some(at) = rest.find(['"', '\'', '/']) {
        plain.push_str(&rest[..at]);
        let quote = rest.as_bytes()[at];
        rest = &rest[at + 1..];
        if quote == b'/' {
            match rest.strip_prefix('*') {
                Some(comment) => {
                    rest = comment.find("*/").map_or("", |end| &comment[end + 2..]);
                    plain.push(' ');
                }
                None => plain.push('/'),
            }
            continue;
        }
        let end = rest.bytes().position(|byte| byte == quote)?;
        let text = &rest[..end];
        if text.contains(['{', '}', '\\', '\n']) || text.contains("/*") || text.contains("*/") {
            return None;
        }
        // As many commas and semicolons as a reader that knows no strings would see.
        plain.extend(text.chars().filter(|letter| matches!(letter, ',' | ';' | '[')));
        rest = &rest[end + 1..];
    }
    plain.push_str(rest);
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(sheet: &str, depth: usize) -> Option<(u64, u64)> {
        let mut cost = Cost::default();
        cost.add(sheet, depth).ok().map(|()| (cost.declarations, cost.comparisons))
    }

    #[test]
    fn copies_and_comparisons_are_counted() {
        assert_eq!(cost(".a{fill:red}", 5), Some((1, 1)));
        assert_eq!(cost("/* {,} don't */.a,.b{fill:red;x:\"A,B\"} .c > d{}", 5), Some((3 * 2 + 1, 2 + 5)));
        let long = format!("{}a{{{}}}", "a,".repeat(9_999), "a:b;".repeat(10_000));
        assert_eq!(cost(&long, 5), Some((10_000 * 10_001, 10_000)));
        assert_eq!(cost("g g g g{}", 150), Some((1, 150 * 149 * 148 / 6)));
        assert!(cost(&"* ".repeat(80), 150).is_some_and(|(_, ways)| ways == 0), "no rule at all");
        assert!(cost(&format!("{}{{}}", "* ".repeat(60)), 150).is_some_and(|(_, ways)| ways > 1 << 50));
        for odd in ["a{b:'}'}", "a[b='/*'] c{}", "a{b:'", "a{b:\"\\\"\"}"] {
            assert_eq!(cost(odd, 5), None, "{odd}");
        }
    }
}
