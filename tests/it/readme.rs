//! The README says what the code says: the settings table is made from the table of settings. `UPDATE=1` rewrites it.

use std::path::Path;

use minilab::config::SETTINGS;

const BEGIN: &str = "<!-- settings:begin -->\n";
const END: &str = "<!-- settings:end -->";

fn table() -> String {
    let mut table = String::from("| key | flag | default | meaning |\n|---|---|---|---|\n");
    for setting in SETTINGS {
        let flag = setting
            .flag()
            .map_or_else(|| format!("`{}` only", setting.variable()), |flag| format!("`--{flag}`"));
        let default = match setting.default {
            Some(default) => format!("`{default}`"),
            None => setting.default_words.to_owned(),
        };
        table.push_str(&format!("| `{}` | {flag} | {default} | {} |\n", setting.name, setting.doc));
    }
    table
}

#[test]
fn the_settings_table_is_the_table_of_settings() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let begin = readme.find(BEGIN).expect("the README has a settings table") + BEGIN.len();
    let end = readme.find(END).unwrap();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, format!("{}{}{}", &readme[..begin], table(), &readme[end..])).unwrap();
        return;
    }
    assert_eq!(&readme[begin..end], table(), "run the test with UPDATE=1");
}
