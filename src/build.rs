//! Tells the program which commit it is built of: `MINILAB_COMMIT` if that is set, else what git says. Debug builds don't ask, or every
//! commit would build everything anew. Called by cargo.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=MINILAB_COMMIT");
    println!("cargo::rerun-if-changed=src/build.rs");
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let given = std::env::var("MINILAB_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = given.or_else(|| is_release.then(of_git).flatten());
    println!("cargo::rustc-env=MINILAB_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
}

/// The short name of the commit that is checked out, if this is a clone and git is here.
fn of_git() -> Option<String> {
    for path in ["HEAD", "logs/HEAD"] {
        let file = git(&["rev-parse", "--git-path", path])?;
        println!("cargo::rerun-if-changed={file}");
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
