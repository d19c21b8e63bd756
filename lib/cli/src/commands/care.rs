//! Counts and questions, before a command sends again or removes.

use serde_json::json;

use crate::args::Care;
use crate::failure::Outcome;
use crate::input::confirm;
use crate::output::Output;

/// Counts for `--dry-run`, or asks before the work begins. Returns whether to go on.
pub fn is_wanted(care: Care, count: usize, doing: &str, output: &Output) -> Outcome<bool> {
    if care.dry_run {
        output.one(&json!({"dryRun": true, "count": count}), |_| {
            vec![format!("{doing}: {count}; nothing was changed")]
        })?;
        return Ok(false);
    }
    confirm(&format!("{doing}: {count}. Go on?"), care.yes)?;
    Ok(true)
}
