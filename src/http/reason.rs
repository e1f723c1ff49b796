//! Why somebody cancels something, as he says it.

use tidegate_protocol::problem::Problem;

/// The longest, in characters.
const CHARS_MAX: usize = 200;

/// A reason that can be told to others. An empty one is as good as none.
///
/// # Errors
/// The problem to answer with.
pub fn checked(given: Option<String>) -> Result<Option<String>, Problem> {
    let refused = |message: &'static str| Err(Problem::validation("reason", message));
    match given {
        Some(reason) if reason.chars().count() > CHARS_MAX => {
            refused("must not be longer than 200 characters")
        }
        // It goes into logs and header sections of others.
        Some(reason) if reason.chars().any(char::is_control) => {
            refused("must not contain control characters")
        }
        given => Ok(given.filter(|reason| !reason.is_empty())),
    }
}
