//! The frame of pages that the server writes itself, and how text gets into them.
//!
//! Owns escaping: whatever is not written here passes [`escape`]. Used by `problems` and `docs`; the dashboard is a file of its own.

/// Text as HTML shows it, in an element or a quoted attribute.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + text.len() / 8);
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Escaped text whose `words in backquotes` are set as code.
pub(super) fn prose(text: &str) -> String {
    let mut made = String::with_capacity(text.len() * 2);
    for (index, part) in text.split('`').enumerate() {
        let part = escape(part);
        if index % 2 == 1 {
            made.push_str("<code>");
            made.push_str(&part);
            made.push_str("</code>");
        } else {
            made.push_str(&part);
        }
    }
    made
}

/// A whole page. `main` is HTML already.
pub(super) fn document(title: &str, styles: &[&str], scripts: &[&str], main: &str) -> String {
    let styles: String =
        styles.iter().map(|path| format!("<link rel=\"stylesheet\" href=\"{path}\">\n")).collect();
    let scripts: String =
        scripts.iter().map(|path| format!("<script type=\"module\" src=\"{path}\"></script>\n")).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title} · Minilab</title>\n<link rel=\"icon\" href=\"/page/icon.svg\" type=\"image/svg+xml\">\n{styles}{scripts}</head>\n<body>\n\
         <a class=\"skip\" href=\"#main\">Skip to the content</a>\n\
         <header class=\"top\"><a class=\"brand\" href=\"/\"><img src=\"/page/icon.svg\" alt=\"\" width=\"26\" height=\"26\"> Minilab</a>\
         <nav aria-label=\"Elsewhere\"><a href=\"/\">Dashboard</a><a href=\"/docs\">API reference</a></nav></header>\n\
         <main id=\"main\" tabindex=\"-1\">\n{main}\n</main>\n</body>\n</html>\n",
        title = escape(title),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_becomes_markup() {
        assert_eq!(escape("<a href=\"x\">'&'</a>"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;");
        assert_eq!(prose("a `<b>` c"), "a <code>&lt;b&gt;</code> c");
        assert!(document("<t>", &[], &[], "").contains("<title>&lt;t&gt; · Minilab</title>"));
    }
}
