//! Logs: an error with its causes in one field.

use std::error::Error;
use std::fmt;

/// An error and all its causes, displayed as `outer: cause: root`.
///
/// An error that is logged as such shows only its own text. This adapter adds its causes.
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("message could not be sent")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn a_chain_names_every_cause() {
        let error = Outer(std::io::Error::other("socket closed"));
        assert_eq!(Chain(&error).to_string(), "message could not be sent: socket closed");
    }
}
