//! The program: its arguments, and nothing else.

fn main() -> std::process::ExitCode {
    minilab::cli::run(std::env::args_os())
}
