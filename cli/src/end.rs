//! How the command ends: its exit codes, and what it says when it could not do its work.

use std::fmt;
use std::process::ExitCode;

use switchboard_mio::{Fault, Reason, RequestError, UnknownCause};

/// How the command ended. The numbers are an interface: scripts decide by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All went well.
    Done,
    /// A handler failed, or something here did.
    Failed,
    /// The command line makes no sense.
    Usage,
    /// There is no hub at the address, or the connection to it was lost.
    NoHub,
    /// What was asked for was certainly not done.
    NotRun,
    /// Nobody knows whether it was done.
    Unknown,
    /// The time was over; as `timeout` says it.
    Deadline,
    /// A signal with this number; as shells say it.
    Signal(u8),
}

impl End {
    /// The exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NoHub => 3,
            Self::NotRun => 4,
            Self::Unknown => 5,
            Self::Deadline => 124,
            Self::Signal(number) => 128 + number,
        }
    }
}

impl From<End> for ExitCode {
    fn from(end: End) -> Self {
        Self::from(end.code())
    }
}

/// An error that knows how the command ends by it.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub end: End,
    /// For the person at the terminal.
    pub message: String,
}

impl Failure {
    /// An error with its exit code.
    pub fn new(end: End, message: impl Into<String>) -> Self {
        Self {
            end,
            message: message.into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Tells why the command failed, and gives the exit code.
pub fn report(error: &anyhow::Error, json: bool) -> ExitCode {
    let end = error
        .downcast_ref::<Failure>()
        .map_or(End::Failed, |failure| failure.end);
    if matches!(end, End::Done | End::Signal(_)) {
        // Whoever ended it knows why.
        return end.into();
    }
    if json {
        let text = text(error);
        let object = serde_json::json!({ "ok": false, "error": text, "exit": end.code() });
        crate::print::talk(&object.to_string());
    } else {
        crate::print::talk(&format!("error: {}", text(error)));
    }
    end.into()
}

/// An error and what led to it, each said once: most say what led to them in their own words.
pub fn text(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// What came of a request that has no reply.
pub struct NoReply {
    /// The exit code.
    pub end: End,
    /// `failed`, `not_run` or `unknown`.
    pub outcome: &'static str,
    /// Why, in words.
    pub why: String,
    /// What the handler said, where it was the handler.
    pub fault: Option<Fault>,
}

impl NoReply {
    /// The same outcome where it was the loss of the hub that ended the request.
    pub fn by_loss_of_hub(mut self) -> Self {
        let lost = "the connection to the hub was lost";
        match self.end {
            End::NotRun => self.why = format!("{lost} before the request left this process"),
            End::Unknown => self.why = format!("{lost}, and the request may have run"),
            _ => {}
        }
        self
    }
}

impl From<RequestError> for NoReply {
    fn from(error: RequestError) -> Self {
        let (end, outcome) = match &error {
            RequestError::Failed(_) => (End::Failed, "failed"),
            RequestError::Unreadable(_) => (End::Failed, "unreadable"),
            RequestError::NotRun(_) => (End::NotRun, "not_run"),
            RequestError::Unknown(UnknownCause::Deadline) => (End::Deadline, "unknown"),
            RequestError::Unknown(_) => (End::Unknown, "unknown"),
            _ => (End::Failed, "failed"),
        };
        let why = match &error {
            RequestError::NotRun(refused) if matches!(refused.reason(), Reason::Target(_)) => {
                return Self {
                    end: End::Usage,
                    outcome: "not_run",
                    why: error.to_string(),
                    fault: None,
                };
            }
            _ => error.to_string(),
        };
        let fault = match error {
            RequestError::Failed(fault) => Some(fault),
            _ => None,
        };
        Self {
            end,
            outcome,
            why,
            fault,
        }
    }
}
