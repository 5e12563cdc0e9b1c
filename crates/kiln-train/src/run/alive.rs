//! A computation that breaks off: a panic, on this thread or on the device's, where the loop waits for it.
//! Owns its end as an error that names the newest checkpoint; catches nothing else.
//!
//! Burn's CPU backend computes on the calling thread (and rayon's workers, whose panics it passes on): the panic arrives as
//! it is. A GPU's work is done by a thread of CubeCL's, which catches the panic of a task that nobody waits for, writes a
//! line into a log, and goes on with whatever the task left (tracel-ai/burn#5352). A hook sees it all the same; the loop asks
//! [`device_panic`] where it reads the numbers of a step, and nothing that was computed since is saved.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, Once, PoisonError};
use std::thread;

use crate::checkpoint;
use crate::error::TrainError;

/// How CubeCL 0.11 calls the threads of its devices (`DSU-0-0`).
const DEVICE_THREADS: [&str; 2] = ["DSU-", "DSD-"];

/// The first panic of a device's thread that no run has ended for.
static PANIC: Mutex<Option<String>> = Mutex::new(None);

/// Listens for panics of devices' threads, beside whoever listens already.
fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let name = thread::current().name().unwrap_or_default().to_string();
            if DEVICE_THREADS.iter().any(|prefix| name.starts_with(prefix)) {
                let text = message(info.payload());
                PANIC.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(format!("{name}: {text}"));
            }
            before(info);
        }));
    });
}

/// Whether a device's thread has panicked since the last call.
///
/// # Errors
/// It has.
pub(super) fn device_panic() -> Result<(), TrainError> {
    match PANIC.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(reason) => Err(TrainError::BrokeOff { reason, checkpoint: None }),
        None => Ok(()),
    }
}

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
    listen();
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
    fn the_panic_of_a_devices_thread_is_found_and_others_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let named = |name: &str| {
            let thread = thread::Builder::new().name(name.into());
            let caught = thread.spawn(|| drop(catch_unwind(|| panic!("a kernel without a shape")))).unwrap();
            caught.join().unwrap();
        };
        let after = |name: &str| {
            guarded(folder.path(), || {
                named(name);
                device_panic()
            })
        };
        after("loader").unwrap();
        let text = after("DSD-0-0").unwrap_err().to_string();
        assert!(text.contains("a kernel without a shape"), "{text}");
        after("loader").unwrap();
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
