//! `completions` and `man`: the command line's own description, for shells and for `man`.

use std::io::Write;

use clap::{Args, Command};
use clap_complete::Shell;

use super::exit::Exit;

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell that will read them
    shell: Shell,
}

/// Prints what the shell needs to complete `minilab …`.
pub(super) fn completions(args: &CompletionsArgs, mut program: Command) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut program, "minilab", &mut script);
    print(&script)
}

/// Prints the manual page: the program, then every command.
pub(super) fn page(program: Command) -> anyhow::Result<Exit> {
    let mut page = Vec::new();
    let manual = clap_mangen::Man::new(program.clone());
    manual.render_title(&mut page)?;
    manual.render_name_section(&mut page)?;
    manual.render_synopsis_section(&mut page)?;
    manual.render_description_section(&mut page)?;
    manual.render_options_section(&mut page)?;
    for command in program.get_subcommands().filter(|command| command.get_name() != "help") {
        let name = format!("minilab {}", command.get_name());
        writeln!(page, ".SH \"{}\"", name.to_uppercase())?;
        let mut sections = Vec::new();
        let command = clap_mangen::Man::new(command.clone().bin_name(name));
        command.render_description_section(&mut sections)?;
        command.render_synopsis_section(&mut sections)?;
        command.render_options_section(&mut sections)?;
        // Under the command's own heading.
        page.extend_from_slice(String::from_utf8(sections)?.replace(".SH ", ".SS ").as_bytes());
    }
    manual.render_extra_section(&mut page)?;
    print(&page)
}

fn print(bytes: &[u8]) -> anyhow::Result<Exit> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()?;
    Ok(Exit::Ok)
}
