//! Exit codes: one place that knows what an error means for the program's end.

use std::process::ExitCode;

use super::screen::Screen;
use crate::app::AppError;
use crate::client::ClientError;
use crate::config::ConfigError;

/// The end of `minilab --help`.
pub(super) const HELP: &str = "\
Exit codes:
  0    done; every job that was waited for succeeded
  1    a job failed or was cancelled, or something went wrong on this machine
  2    the command line or the configuration is wrong
  3    the server cannot be reached
  4    the server refused; it says why
  5    no such job or output, or it has been removed
  6    the time given by --timeout is over, or the job is not finished yet
  130  interrupted

Environment:
  MINILAB_SERVER   address of the server, as --server
  NO_COLOR         no colours
  MINILAB_…        every setting of `minilab serve`, see `minilab serve --help`";

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Ok = 0,
    Failed = 1,
    Usage = 2,
    Unreachable = 3,
    Refused = 4,
    NotFound = 5,
    NotFinished = 6,
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// A mistake in the arguments that only shows once they are put together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct UsageError(pub(super) String);

/// What was asked for is not there.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotThere(pub(super) String);

/// A job that was to be seen through did not succeed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct JobFailed(pub(super) String);

impl Exit {
    fn of(error: &anyhow::Error) -> Exit {
        for cause in error.chain() {
            if let Some(error) = cause.downcast_ref::<ClientError>() {
                return Exit::of_client(error);
            }
            let is_preset = matches!(cause.downcast_ref::<AppError>(), Some(AppError::Presets(_)));
            if is_preset || cause.is::<UsageError>() || cause.is::<ConfigError>() {
                return Exit::Usage;
            }
            if cause.is::<NotThere>() {
                return Exit::NotFound;
            }
        }
        Exit::Failed
    }

    fn of_client(error: &ClientError) -> Exit {
        match error {
            _ if error.is_not_found() => Exit::NotFound,
            _ if error.is_connection() => Exit::Unreachable,
            ClientError::Refused(_) => Exit::Refused,
            ClientError::Answer { .. } => Exit::Unreachable,
            ClientError::Address { .. } | ClientError::Key => Exit::Usage,
            ClientError::NotFinished { .. } => Exit::NotFinished,
            _ => Exit::Failed,
        }
    }

    /// The first code that is not [`Exit::Ok`]: what several jobs together end with.
    pub(super) fn and(self, next: Exit) -> Exit {
        if self == Exit::Ok { next } else { self }
    }
}

/// Tells what went wrong, on standard error, and gives the exit code for it. A reader that went away (`minilab list | head`) is no error.
pub(super) fn report(error: &anyhow::Error, screen: &Screen) -> Exit {
    let broken_pipe = |cause: &(dyn std::error::Error + 'static)| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(broken_pipe) {
        return Exit::Ok;
    }
    screen.complain(&words(error));
    Exit::of(error)
}

/// The error and its causes, without those that are in its words already: advice may stand after the cause.
fn words(error: &anyhow::Error) -> String {
    let mut said = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !said.contains(&cause) {
            said.push_str(": ");
            said.push_str(&cause);
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Problem;

    #[test]
    fn every_kind_of_error_has_its_code() {
        let refused = |status| ClientError::Refused(Box::new(Problem { status, ..Problem::default() }));
        let away = ClientError::Unreachable { server: String::new(), cause: String::new() };
        let of = |error: ClientError| Exit::of(&anyhow::Error::from(error).context("photo.jpg"));
        assert_eq!(of(refused(404)), Exit::NotFound);
        assert_eq!(of(refused(410)), Exit::NotFound);
        assert_eq!(of(refused(422)), Exit::Refused);
        assert_eq!(of(away), Exit::Unreachable);
        assert_eq!(Exit::of(&UsageError(String::new()).into()), Exit::Usage);
        assert_eq!(Exit::of(&NotThere(String::new()).into()), Exit::NotFound);
        assert_eq!(Exit::of(&JobFailed(String::new()).into()), Exit::Failed);
        assert_eq!(Exit::Ok.and(Exit::Refused).and(Exit::Failed), Exit::Refused);
    }

    #[test]
    fn a_cause_is_told_once() {
        let cause = || anyhow::anyhow!("address in use");
        assert_eq!(words(&cause().context("cannot listen")), "cannot listen: address in use");
        let advice = "cannot listen: address in use; choose another";
        assert_eq!(words(&cause().context(advice)), advice);
        assert_eq!(words(&cause().context("cannot listen").context(advice)), advice);
    }

    #[test]
    fn the_help_names_every_code() {
        for exit in [
            Exit::Ok,
            Exit::Failed,
            Exit::Usage,
            Exit::Unreachable,
            Exit::Refused,
            Exit::NotFound,
            Exit::NotFinished,
            Exit::Interrupted,
        ] {
            assert!(HELP.contains(&format!("\n  {:<3}", exit as u8)), "{exit:?}");
        }
    }
}
