//! The program: its arguments, and nothing else.

fn main() -> std::process::ExitCode {
    // The server starts this program again for each process that handles images.
    minilab::child_main_if_requested();
    minilab::cli::run(std::env::args_os())
}
