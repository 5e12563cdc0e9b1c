//! Pull and push in a build without the feature `hub`: both say how to build with it.
//! Owns nothing else.

use crate::{HubError, Name, Pulled, Push, Pushed, Settings};

/// Says that this build cannot pull.
///
/// # Errors
/// Always.
pub fn pull(name: &Name, _: &Settings) -> Result<Pulled, HubError> {
    Err(HubError::NotBuilt { name: name.to_string() })
}

/// Says that this build cannot push.
///
/// # Errors
/// Always.
pub fn push(name: &Name, _: &Push<'_>, _: &Settings) -> Result<Pushed, HubError> {
    Err(HubError::NotBuilt { name: name.to_string() })
}
