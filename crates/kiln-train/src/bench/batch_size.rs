//! The micro-batch that a device trains fastest and has the memory for: doubled until it gains nothing, does not fit, or
//! would not; then refined. Owns the search; each try is a row in a process of its own (`crew`), so that a device whose
//! memory runs out, or a process that the system kills, is a line of the table.
//!
//! On the processor the memory is what the machine or its group has left: a batch that would need more, by what the last two
//! took, is not tried, for the system might kill another program than ours.

use std::fs;

use kiln_core::device::built_in;
use serde::Serialize;

use super::{BenchError, Crew, Place, Row, RowSpec, Status};

/// A batch that gains less over the best so far, twice in a row, ends the doubling.
const GAIN: f64 = 1.03;
/// Of batches as fast as this share of the fastest, the smallest is taken.
const AS_FAST: f64 = 0.98;
/// Share of the free memory that a try may be expected to take.
const SHARE: f64 = 0.85;

/// One batch size and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tried {
    /// Samples.
    pub batch_size: usize,
    /// Whether it has numbers, or how it ended.
    pub status: Status,
    /// Samples a second of a training step; the step's median.
    pub samples_per_second: Option<f64>,
    /// Its milliseconds.
    pub step_ms: Option<f64>,
    /// What the device's pool holds, on the processor the largest resident memory; MiB.
    pub memory_mib: Option<f64>,
    /// Why there are no numbers.
    pub reason: Option<String>,
}

/// What the search found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Found {
    /// Every try, in their order.
    pub tried: Vec<Tried>,
    /// The smallest batch that is as fast as the fastest.
    pub fastest: Option<usize>,
    /// The largest batch that was run.
    pub largest: Option<usize>,
    /// Whether a larger one was tried or reckoned, and did not fit.
    pub ended_by_memory: bool,
}

/// Searches for the batch size of `spec`, up to `most` samples, telling `told` of each try.
///
/// # Errors
/// A process cannot be started, or the device's word is none. (A try that fails is told.)
pub fn find_batch_size(
    crew: &Crew,
    spec: &RowSpec,
    most: usize,
    told: &mut dyn FnMut(&Tried),
) -> Result<Found, BenchError> {
    let place: Place = spec.device.parse()?;
    let gpu = |name: &&str| !["cpu", "ndarray"].contains(name);
    let processor = place.is_processor() || (spec.device == "auto" && !built_in().iter().any(gpu));
    let free = if processor { free_mib() } else { None };
    search(most, free, &mut |batch_size| {
        let row = crew.row(&RowSpec { batch_size: Some(batch_size), longest: true, ..spec.clone() })?;
        let tried = Tried::of(batch_size, &row);
        told(&tried);
        Ok(tried)
    })
}

impl Tried {
    fn of(batch_size: usize, row: &Row) -> Self {
        let measured = row.measured.as_ref();
        Self {
            batch_size,
            status: row.status,
            samples_per_second: measured.map(|m| 1e3 * batch_size as f64 / m.train.p50_ms),
            step_ms: measured.map(|m| m.train.p50_ms),
            memory_mib: measured.and_then(|m| m.device_pool_mib.or(m.train_peak_mib)),
            reason: row.reason.clone(),
        }
    }

    /// A batch that was not tried.
    fn reckoned(batch_size: usize, needs: f64, free: f64) -> Self {
        let reason = format!("not tried: would need about {needs:.0} MiB, and {free:.0} are free");
        let (status, reason) = (Status::OutOfMemory, Some(reason));
        Self { batch_size, status, samples_per_second: None, step_ms: None, memory_mib: None, reason }
    }
}

fn search(
    most: usize,
    free: Option<f64>,
    run: &mut dyn FnMut(usize) -> Result<Tried, BenchError>,
) -> Result<Found, BenchError> {
    let mut tried: Vec<Tried> = Vec::new();
    let mut once = |batch_size: usize, tried: &mut Vec<Tried>| -> Result<bool, BenchError> {
        if tried.iter().any(|one| one.batch_size == batch_size) {
            return Ok(true);
        }
        let one = match free.and_then(|free| Some((reckoned(tried, batch_size)?, free))) {
            Some((needs, free)) if needs > SHARE * free => Tried::reckoned(batch_size, needs, free),
            _ => run(batch_size)?,
        };
        let ran = one.status == Status::Ok;
        tried.push(one);
        Ok(ran)
    };
    // ---- double ----------------------------------------------------------------------------------------------
    let (mut size, mut without_gain, mut best) = (1, 0, 0.0f64);
    while size <= most {
        if !once(size, &mut tried)? {
            break;
        }
        let speed = tried.last().and_then(|one| one.samples_per_second).unwrap_or(0.0);
        without_gain = if speed > GAIN * best { 0 } else { without_gain + 1 };
        best = best.max(speed);
        if without_gain == 2 {
            break;
        }
        size *= 2;
    }
    // ---- refine: halfway to both neighbours of the fastest ---------------------------------------------------
    if let Some(at) = fastest(&tried, 1.0) {
        for size in [at / 2 + at / 4, at + at / 2] {
            if size > 0 && size <= most {
                once(size, &mut tried)?;
            }
        }
    }
    let ran = || tried.iter().filter(|one| one.status == Status::Ok);
    let largest = ran().map(|one| one.batch_size).max();
    Ok(Found {
        fastest: fastest(&tried, AS_FAST),
        largest,
        ended_by_memory: tried.iter().any(|one| one.status == Status::OutOfMemory),
        tried,
    })
}

/// The smallest batch that reaches this share of the highest speed.
fn fastest(tried: &[Tried], share: f64) -> Option<usize> {
    let speeds = || tried.iter().filter_map(|one| Some((one.batch_size, one.samples_per_second?)));
    let best = speeds().map(|(_, speed)| speed).fold(0.0, f64::max);
    speeds().filter(|(_, speed)| *speed >= share * best).map(|(size, _)| size).min()
}

/// What a batch would take, MiB: on the line through the two nearest that ran; `None` before there are two.
fn reckoned(tried: &[Tried], batch_size: usize) -> Option<f64> {
    let mut known: Vec<(usize, f64)> =
        tried.iter().filter_map(|one| Some((one.batch_size, one.memory_mib?))).collect();
    known.sort_by_key(|(size, _)| *size);
    let [.., (a, low), (b, high)] = known.as_slice() else { return None };
    let slope = ((high - low) / (b - a) as f64).max(0.0);
    Some(high + slope * (batch_size as f64 - *b as f64))
}

/// Memory that this process may still take, MiB: of the machine, or of its group where that has less.
fn free_mib() -> Option<f64> {
    let kib = fs::read_to_string("/proc/meminfo").ok()?;
    let line = kib.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let machine = line.trim().trim_end_matches(" kB").parse::<f64>().ok()? / 1024.0;
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<f64>().ok();
    let group = [
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ];
    let group =
        group.iter().find_map(|(most, now)| Some((number(most)? - number(now)?) / f64::from(1 << 20)));
    Some(group.map_or(machine, |group| group.min(machine)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device whose speed rises to `top` and whose memory is `fixed + each n`, up to `room` MiB.
    fn device(top: f64, each: f64, room: f64) -> impl FnMut(usize) -> Result<Tried, BenchError> {
        move |n| {
            let (speed, memory) = (top * n as f64 / (n as f64 + 4.0), 100.0 + each * n as f64);
            let fits = memory <= room;
            Ok(Tried {
                batch_size: n,
                status: if fits { Status::Ok } else { Status::OutOfMemory },
                samples_per_second: fits.then_some(speed),
                step_ms: fits.then_some(1e3 * n as f64 / speed),
                memory_mib: fits.then_some(memory),
                reason: (!fits).then(|| "out of memory".into()),
            })
        }
    }

    fn sizes(found: &Found) -> Vec<usize> {
        found.tried.iter().map(|one| one.batch_size).collect()
    }

    #[test]
    fn a_device_whose_memory_runs_out_is_doubled_to_its_edge_and_refined() {
        let found = search(1000, None, &mut device(1000.0, 10.0, 400.0)).unwrap();
        // 16 takes 260 MiB, 32 would take 420.
        assert_eq!(sizes(&found), [1, 2, 4, 8, 16, 32, 12, 24]);
        assert_eq!((found.fastest, found.largest, found.ended_by_memory), (Some(24), Some(24), true));
    }

    #[test]
    fn a_batch_that_the_machine_has_no_room_for_is_not_tried() {
        let mut ran = Vec::new();
        let mut real = device(1000.0, 10.0, f64::INFINITY);
        let found = search(1000, Some(410.0), &mut |n| {
            ran.push(n);
            real(n)
        });
        // 85 % of 410 MiB: 16 takes 260, 32 would take 420 and 24 takes 340.
        let found = found.unwrap();
        assert_eq!(ran, [1, 2, 4, 8, 16, 12, 24]);
        let not_tried = found.tried.iter().find(|one| one.batch_size == 32).unwrap();
        assert!(not_tried.reason.as_ref().unwrap().contains("about 420 MiB, and 410 are free"));
        assert!(found.ended_by_memory);
    }

    #[test]
    fn a_device_that_is_full_ends_the_doubling_and_the_smallest_of_the_fastest_is_taken() {
        let mut flat = |n: usize| {
            let mut one = device(1000.0, 0.1, f64::INFINITY)(n)?;
            one.samples_per_second = Some(100.0 * (n.min(8) as f64));
            Ok(one)
        };
        let found = search(1000, None, &mut flat).unwrap();
        assert_eq!(sizes(&found), [1, 2, 4, 8, 16, 32, 6, 12]);
        assert_eq!((found.fastest, found.largest, found.ended_by_memory), (Some(8), Some(32), false));
    }

    #[test]
    fn no_more_samples_than_there_are_and_a_failure_of_the_first_is_no_batch() {
        let found = search(5, None, &mut device(1000.0, 1.0, f64::INFINITY)).unwrap();
        assert_eq!(sizes(&found), [1, 2, 4, 3]);
        let found = search(5, None, &mut device(1000.0, 1.0, 1.0)).unwrap();
        assert_eq!((found.fastest, found.largest, found.tried.len()), (None, None, 1));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_machine_tells_its_memory() {
        assert!(free_mib().unwrap() > 1.0);
    }
}
