//! Takes one row, in a process that does nothing else: load, first step, warm-up, training, inference, a second net.
//! Owns the order, which decides what each number means; never starts a process (`crew` does).

use std::time::{Duration, Instant};

use kiln_core::files::{FileError, write_atomic};
use kiln_core::{InputSpec, Precision};
use kiln_models::cost::cost;
use kiln_models::weights::to_safetensors;
use kiln_nn::precision::within;

use super::usage::Usage;
use super::{BenchError, Costs, Key, Measured, Place, Row, RowSpec, Status, Subject, Timing, machine};
use crate::load;

/// The version of Burn that kiln is built on.
const BURN: &str = "0.22.1";
/// Losses that a row keeps, for comparison with other programs.
const LOSSES: usize = 20;
/// Steps at most, whatever the seconds.
const MOST: usize = 20_000;

/// Measures one row; a row that fails says why.
pub fn measure(spec: &RowSpec, process_start: Instant) -> Row {
    let row = outline(spec);
    let place: Place = match spec.device.parse() {
        Ok(place) => place,
        Err(error) => return row.failed(&error.into()),
    };
    match place.run(|| numbers(spec, &place, process_start)) {
        Ok((measured, batch)) => {
            Row { key: Key { batch_size: Some(batch), ..row.key }, measured: Some(measured), ..row }
        }
        Err(error) => row.failed(&error),
    }
}

/// The row without numbers. What a GPU is, the crew asks once for all rows.
pub(super) fn outline(spec: &RowSpec) -> Row {
    let place = spec.device.parse::<Place>().ok();
    let backend = place.as_ref().map_or_else(|| spec.device.clone(), Place::backend);
    let is_gpu = place.is_some_and(|place| !place.is_processor());
    let configured = || load::resolve(&spec.config, &spec.overrides).ok();
    Row {
        key: Key {
            config: spec.label(),
            device: spec.device.clone(),
            precision: spec.precision.clone(),
            batch_size: spec
                .batch_size
                .or_else(|| configured().map(|loaded| loaded.config.data.loader().batch_size)),
            hardware: if is_gpu { String::new() } else { machine::processor() },
        },
        status: Status::Ok,
        reason: None,
        driver: machine::driver(is_gpu),
        backend,
        threads: rayon::current_num_threads(),
        kiln: env!("CARGO_PKG_VERSION").into(),
        burn: BURN.into(),
        binary: machine::binary(),
        measured: None,
    }
}

fn numbers(spec: &RowSpec, place: &Place, process_start: Instant) -> Result<(Measured, usize), BenchError> {
    let Some(precision) = Precision::of(&spec.precision) else {
        return Err(BenchError::Precision { asked: spec.precision.clone() });
    };
    let mut overrides = spec.overrides.clone();
    overrides.push(format!("precision={precision}"));
    overrides.extend(spec.batch_size.map(|n| format!("data.loader.batch_size={n}")));

    // ---- load ----------------------------------------------------------------------------------------------
    let mut subject = Subject::open_at(&spec.config, &overrides, place, spec.longest)?;
    subject.sync()?;
    let load_ms = milliseconds(process_start.elapsed());
    let batch = subject.batch_size();
    if spec.batch_size.is_some_and(|asked| asked != batch) {
        return Err(BenchError::Batch { asked: spec.batch_size.unwrap_or(0), got: batch });
    }
    keep(spec, &subject)?;

    // ---- train ---------------------------------------------------------------------------------------------
    machine::reset_peak();
    let mut losses = Vec::new();
    let mut step = |subject: Subject| {
        let (subject, loss) = subject.step()?;
        losses.push(loss);
        Ok::<_, BenchError>(subject)
    };
    let start = Instant::now();
    subject = step(subject)?;
    let first_step_ms = milliseconds(start.elapsed());
    for _ in 1..spec.warmup {
        subject = step(subject)?;
    }
    let usage = Usage::begin(&subject.device);
    let (times, mut subject) = repeat(spec, subject, &mut step)?;
    let used = usage.end();
    let per_step = |joules: f64| joules / times.len() as f64;
    let (joules_per_step, gpu_joules_per_step) = (used.joules.map(per_step), used.gpu_joules.map(per_step));
    let train = timing(&times, batch)?;
    let train_peak_mib = machine::peak_mib();
    let device_pool_mib =
        subject.device.memory_pool_usage().map(|pool| pool.bytes_reserved as f64 / f64::from(1 << 20));
    let (first, last) = (first_of(&losses), losses.last().copied().unwrap_or(f32::NAN));
    if spec.check_loss && last >= first {
        return Err(BenchError::Loss { first, last });
    }
    losses.truncate(LOSSES);

    // ---- infer ---------------------------------------------------------------------------------------------
    machine::reset_peak();
    let (net, input) = subject.inference();
    let mut pass = |subject: Subject| {
        drop(within(precision, || net.apply(input.clone()))?);
        subject.sync()?;
        Ok(subject)
    };
    for _ in 0..spec.warmup.max(1) {
        subject = pass(subject)?;
    }
    let (times, subject) = repeat(spec, subject, &mut pass)?;
    let infer = timing(&times, batch)?;
    let infer_peak_mib = machine::peak_mib();

    // ---- count, and begin again ------------------------------------------------------------------------------
    let counted = cost(&*subject.net, &subject.input, batch, subject.tokens(), &subject.device)?;
    let costs = Costs {
        values: counted.values,
        forward_flops: counted.forward_flops,
        training_flops: counted.training_flops,
    };
    let measured = Measured {
        model: subject.card.called().to_string(),
        task: subject.config.task.kind().to_string(),
        optimizer: subject.config.optimizer.word(),
        input: described(&subject),
        train,
        infer,
        costs,
        load_ms,
        first_step_ms,
        first_step_warm_ms: 0.0,
        train_peak_mib,
        infer_peak_mib,
        device_pool_mib,
        joules_per_step,
        gpu_joules_per_step,
        processors_busy: used.processors_busy,
        gpu_busy: used.gpu_busy,
        peak_gflops: None,
        peak_copy_gb_per_sec: None,
        losses,
        last_loss: last,
    };
    drop(subject);
    let again = Subject::open_at(&spec.config, &overrides, place, spec.longest)?;
    let start = Instant::now();
    again.step()?;
    Ok((Measured { first_step_warm_ms: milliseconds(start.elapsed()), ..measured }, batch))
}

/// Times steps until there are enough of them and they took long enough.
fn repeat(
    spec: &RowSpec,
    mut subject: Subject,
    once: &mut impl FnMut(Subject) -> Result<Subject, BenchError>,
) -> Result<(Vec<Duration>, Subject), BenchError> {
    let (began, mut times) = (Instant::now(), Vec::new());
    let enough = |n: usize| n >= spec.steps && began.elapsed().as_secs_f64() >= spec.seconds;
    while !enough(times.len()) && times.len() < MOST {
        let start = Instant::now();
        subject = once(subject)?;
        times.push(start.elapsed());
    }
    Ok((times, subject))
}

fn timing(times: &[Duration], batch: usize) -> Result<Timing, BenchError> {
    Timing::of(times, batch).ok_or(BenchError::NoSteps)
}

/// Leaves the start weights and the batch for other programs.
fn keep(spec: &RowSpec, subject: &Subject) -> Result<(), BenchError> {
    let Some(folder) = &spec.keep else { return Ok(()) };
    std::fs::create_dir_all(folder).map_err(FileError::at(folder, "create"))?;
    kiln_models::save(&folder.join("model"), &subject.card, &subject.net.state())?;
    let batch = to_safetensors(&subject.batch_state(), &[])?;
    Ok(write_atomic(&folder.join("batch.safetensors"), &batch)?)
}

fn described(subject: &Subject) -> String {
    match &subject.input {
        InputSpec::Image { channels, height, width } => format!("{channels}x{height}x{width}"),
        InputSpec::Tokens { .. } => format!("{} tokens", subject.tokens()),
        InputSpec::Table { features, cardinalities } => {
            format!("{features} numbers, {} categories", cardinalities.len())
        }
    }
}

fn first_of(losses: &[f32]) -> f32 {
    losses.first().copied().unwrap_or(f32::NAN)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
