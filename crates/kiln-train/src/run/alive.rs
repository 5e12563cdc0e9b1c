//! A computation that breaks off: a panic, on this thread or on the device's, where the loop waits for it.
//! Owns its end as an error that names the newest checkpoint; catches nothing else.
//!
//! Burn's CPU backend computes on the calling thread (and rayon's workers, whose panics it passes on): the panic arrives as
//! it is. A GPU's work is done by a thread of the backend's own, which may die with no more than a line in the log
//! (tracel-ai/burn#5352): what the loop then sees is an error, or a panic on a closed channel, at its next read. Both end
//! here, at the latest when the numbers of a step are read.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::checkpoint;
use crate::error::TrainError;

/// Runs a computation of the run with these checkpoints.
///
/// # Errors
/// Its own, or that it broke off.
pub(crate) fn guarded<T>(
    checkpoints: &Path,
    compute: impl FnOnce() -> Result<T, TrainError>,
) -> Result<T, TrainError> {
    let newest = || {
        let step = checkpoint::steps(checkpoints).ok()?.into_iter().next_back()?;
        Some(checkpoint::folder(checkpoints, step))
    };
    match catch_unwind(AssertUnwindSafe(compute)) {
        Ok(Err(TrainError::BrokeOff { reason, .. })) => {
            Err(TrainError::BrokeOff { reason, checkpoint: newest() })
        }
        Ok(result) => result,
        Err(panic) => Err(TrainError::BrokeOff { reason: message(&*panic), checkpoint: newest() }),
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
        .unwrap_or_else(|| "a panic without a message".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_that_names_the_newest_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("step-00000004")).unwrap();
        let caught = guarded::<()>(folder.path(), || panic!("no {}", "device")).unwrap_err();
        assert_eq!(caught.exit(), kiln_core::Exit::Failed);
        let text = caught.to_string();
        assert!(
            text.starts_with("the computation broke off: no device; the newest checkpoint is "),
            "{text}"
        );
        assert!(text.ends_with("step-00000004"), "{text}");
        assert_eq!(guarded(folder.path(), || Ok(3)).unwrap(), 3);
    }

    #[test]
    fn the_panic_of_a_worker_arrives_where_the_loop_waits() {
        let folder = tempfile::tempdir().unwrap();
        let caught = guarded::<()>(folder.path(), || {
            rayon::join(|| panic!("in a worker"), || ());
            Ok(())
        });
        assert!(caught.unwrap_err().to_string().contains("in a worker"));
    }
}
