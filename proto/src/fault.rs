//! What a handler returns when it fails.

use alloc::string::{String, ToString};
use core::error::Error;
use core::fmt;

use crate::message::{Answer, Failure};

/// The error of a handler, as its caller will see it: text, number and an optional detail, with
/// nothing that must exist in the other process.
///
/// It converts from any error, so `?` works in a handler:
///
/// ```
/// use switchboard_proto::fault::Fault;
///
/// fn parse(text: &str) -> Result<i32, Fault> {
///     Ok(text.parse()?)
/// }
/// assert_eq!(parse("x").unwrap_err().message, "invalid digit found in string");
/// ```
///
/// For that conversion to exist it is no [`Error`] itself; where one is asked for, use
/// [`Fault::into_error`].
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Fault {
    /// What went wrong, with the causes: `cannot open the table: permission denied`.
    pub message: String,
    /// A number that the application defines; 0 where it said none.
    pub code: i32,
    /// More for whoever looks into it, such as the stack of a foreign child.
    pub detail: Option<String>,
}

impl Fault {
    /// A fault with this message, code 0 and no detail.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code: 0,
            detail: None,
        }
    }

    /// A fault with the error's text and that of its sources, each once, joined by `: `.
    ///
    /// The conversion with `?` does the same; this one also takes a boxed or borrowed error.
    pub fn from_error(error: &(dyn Error + 'static)) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            // Many errors already end with the text of their source.
            if !message.ends_with(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            source = cause.source();
        }
        Self::new(message)
    }

    /// The same fault with this code.
    #[must_use]
    pub fn with_code(mut self, code: i32) -> Self {
        self.code = code;
        self
    }

    /// The same fault with this detail.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The fault as an [`Error`], for callers whose own error type converts from those.
    pub fn into_error(self) -> FaultError {
        FaultError(self)
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Fault {
    #[cold]
    fn from(error: E) -> Self {
        let error: &(dyn Error + 'static) = &error;
        match error.downcast_ref::<FaultError>() {
            // A fault that was made an error on its way keeps its code and detail.
            Some(FaultError(fault)) => fault.clone(),
            None => Self::from_error(error),
        }
    }
}

/// `message`, or `message (code 7)`. The detail is not shown: it may be many lines.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if self.code != 0 {
            write!(f, " (code {})", self.code)?;
        }
        Ok(())
    }
}

/// As the error of `main` or of a test, with the detail below.
impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)?;
        if let Some(detail) = &self.detail {
            write!(f, "\n{detail}")?;
        }
        Ok(())
    }
}

/// A [`Fault`] that is an [`Error`]; see [`Fault::into_error`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FaultError(pub Fault);

impl fmt::Display for FaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Error for FaultError {}

/// As it travels.
impl From<&Fault> for Failure {
    fn from(fault: &Fault) -> Self {
        Self {
            code: fault.code,
            message: fault.message.clone(),
            detail: fault.detail.clone().unwrap_or_default(),
        }
    }
}

/// As the requester sees it.
impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        Self {
            message: failure.message,
            code: failure.code,
            detail: (!failure.detail.is_empty()).then_some(failure.detail),
        }
    }
}

impl<F> From<&Fault> for Answer<F> {
    fn from(fault: &Fault) -> Self {
        Self::Failed(fault.into())
    }
}

#[cfg(test)]
mod tests {
    use alloc::boxed::Box;
    use alloc::format;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open the table")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("lock of {0} failed: {1}")]
    struct Inner(u8, #[source] Root);

    #[derive(Debug, thiserror::Error)]
    #[error("permission denied")]
    struct Root;

    fn handler() -> Result<(), Fault> {
        Err(Outer(Inner(3, Root)))?
    }

    #[test]
    fn a_handler_s_question_mark_tells_every_cause_once() {
        let fault = handler().unwrap_err();
        assert_eq!(
            fault.message,
            "cannot open the table: lock of 3 failed: permission denied"
        );
        assert_eq!(fault.code, 0);
        assert_eq!(fault.detail, None);
    }

    #[test]
    fn the_caller_sees_the_code_and_not_the_detail() {
        let fault = Fault::new("no such row")
            .with_code(404)
            .with_detail("line 3\nline 9");
        assert_eq!(fault.to_string(), "no such row (code 404)");
        assert_eq!(
            format!("{fault:?}"),
            "no such row (code 404)\nline 3\nline 9"
        );
        assert_eq!(Fault::new("plain").to_string(), "plain");
    }

    #[test]
    fn a_boxed_error_becomes_a_fault_too() {
        let boxed: Box<dyn Error + Send + Sync> = Box::new(Outer(Inner(1, Root)));
        let fault = Fault::from_error(&*boxed);
        assert_eq!(
            fault.message,
            "cannot open the table: lock of 1 failed: permission denied"
        );
    }

    #[test]
    fn a_fault_that_travels_as_an_error_keeps_code_and_detail() {
        fn inner() -> Result<(), FaultError> {
            Err(Fault::new("busy")
                .with_code(7)
                .with_detail("queue of 9")
                .into_error())
        }
        fn outer() -> Result<(), Fault> {
            Ok(inner()?)
        }
        let fault = outer().unwrap_err();
        assert_eq!((fault.message.as_str(), fault.code), ("busy", 7));
        assert_eq!(fault.detail.as_deref(), Some("queue of 9"));
    }
}
