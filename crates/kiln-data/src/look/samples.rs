//! One pass over a split: the fingerprint of each input, its size or its length.
//! Owns what makes two inputs the same: the bytes of the file that an image is decoded from, else the whole sample.
//! Never decodes a picture that has a file; hands `Seen` to stats, duplicates and leakage.

use std::io::Cursor;

use serde::Serialize;

use crate::batch::Features;
use crate::decode::size_in;
use crate::error::DataError;
use crate::split::{Raw, Split};
use crate::text_program::TextProgram;

/// 128 bits of BLAKE3: two of a billion different inputs agree with probability 1e-21.
pub(crate) type Print = [u8; 16];

/// What one sample showed.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// `None` where the sample cannot be read.
    pub(crate) print: Option<Print>,
    /// `(H, W)` of an image.
    pub(crate) size: Option<(usize, usize)>,
    /// The format of an image's file.
    pub(crate) format: Option<String>,
    /// Tokens of a text before it is cut, special tokens included.
    pub(crate) tokens: Option<usize>,
    /// Whether a text holds nothing but blanks.
    pub(crate) blank: bool,
    /// Why it cannot be read.
    pub(crate) fault: Option<String>,
}

/// Smallest, middle and largest of some numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Range {
    /// Smallest.
    pub min: f64,
    /// The middle one; of an even count the mean of the middle two.
    pub median: f64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Largest.
    pub max: f64,
}

impl Range {
    /// `None` of no numbers.
    pub(crate) fn of(mut numbers: Vec<f64>) -> Option<Self> {
        numbers.sort_by(f64::total_cmp);
        let n = numbers.len();
        let (first, last) = (*numbers.first()?, *numbers.last()?);
        let median = f64::midpoint(numbers[(n - 1) / 2], numbers[n / 2]);
        let mean = numbers.iter().sum::<f64>() / n as f64;
        Some(Self { min: first, median, mean, max: last })
    }
}

/// The fingerprint of bytes.
pub(crate) fn print(bytes: &[u8]) -> Print {
    short(*blake3::hash(bytes).as_bytes())
}

fn short(hash: [u8; 32]) -> Print {
    let mut print = [0; 16];
    print.copy_from_slice(&hash[..16]);
    print
}

/// The fingerprint of a whole sample without its label.
pub(crate) fn print_of(raw: &Raw) -> Print {
    let mut hasher = blake3::Hasher::new();
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
    };
    match raw {
        Raw::Image(image) => {
            [image.height, image.width, image.channels].iter().for_each(|n| part(&n.to_le_bytes()));
            part(&image.pixels);
        }
        Raw::Text(text) => part(text.as_bytes()),
        Raw::Pair(a, b) => [a, b].iter().for_each(|text| part(text.as_bytes())),
        Raw::Words(words) => words.iter().for_each(|word| part(word.as_bytes())),
        Raw::Tokens(ids) => ids.iter().for_each(|id| part(&id.to_le_bytes())),
        Raw::Row { numbers, categories } => {
            numbers.iter().for_each(|x| part(&x.to_le_bytes()));
            categories.iter().for_each(|word| part(word.as_bytes()));
        }
    }
    short(*hasher.finalize().as_bytes())
}

/// The fingerprint of a sample's input.
pub(crate) fn fingerprint(split: &Split, i: usize) -> Result<Print, DataError> {
    match split.encoded(i)? {
        Some((_, bytes)) => Ok(print(&bytes)),
        None => split.raw(i).map(|raw| print_of(&raw)),
    }
}

/// Looks at every sample, with as many threads as the machine offers; `uncut` counts tokens.
pub(crate) fn look(split: &Split, uncut: Option<&TextProgram>) -> Result<Vec<Seen>, DataError> {
    parallel(split.len(), |i| see(split, i, uncut))
}

/// Calls `of` for every number below `n`, in order of the numbers.
pub(crate) fn parallel<T: Send>(n: usize, of: impl Fn(usize) -> T + Sync) -> Result<Vec<T>, DataError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (part, of) = (n.div_ceil(threads).max(1), &of);
    std::thread::scope(|scope| {
        let starts = (0..n).step_by(part);
        let workers: Vec<_> = starts
            .map(|from| scope.spawn(move || (from..(from + part).min(n)).map(of).collect::<Vec<T>>()))
            .collect();
        let mut all = Vec::with_capacity(n);
        for worker in workers {
            let crashed = |_| DataError::Crashed {
                name: "a sample".into(),
                message: "a thread that looked at samples panicked".into(),
            };
            all.extend(worker.join().map_err(crashed)?);
        }
        Ok(all)
    })
}

fn see(split: &Split, i: usize, uncut: Option<&TextProgram>) -> Seen {
    let nothing = Seen { print: None, size: None, format: None, tokens: None, blank: false, fault: None };
    match seen(split, i, uncut) {
        Ok(seen) => seen,
        Err(fault) => Seen { fault: Some(fault.to_string()), ..nothing },
    }
}

fn seen(split: &Split, i: usize, uncut: Option<&TextProgram>) -> Result<Seen, DataError> {
    if let Some((_, bytes)) = split.encoded(i)? {
        let size = size_in(&bytes, &split.name(i))?;
        let reader = image::ImageReader::new(Cursor::new(&bytes)).with_guessed_format().ok();
        let format = reader.and_then(|r| r.format()).map(|f| format!("{f:?}").to_lowercase());
        let (print, size) = (Some(print(&bytes)), Some(size));
        return Ok(Seen { print, size, format, tokens: None, blank: false, fault: None });
    }
    let raw = split.raw(i)?;
    let size = match &raw {
        Raw::Image(image) => Some((image.height, image.width)),
        _ => None,
    };
    let tokens = match uncut.and_then(|program| program.run(&raw)).transpose()? {
        Some(Features::Tokens { ids, .. }) => Some(ids.len()),
        _ => None,
    };
    let blank = match &raw {
        Raw::Text(text) => text.trim().is_empty(),
        Raw::Pair(a, b) => a.trim().is_empty() || b.trim().is_empty(),
        Raw::Words(words) => words.is_empty(),
        Raw::Image(_) | Raw::Tokens(_) | Raw::Row { .. } => false,
    };
    let format = size.map(|_| "pixels".to_string());
    Ok(Seen { print: Some(print_of(&raw)), size, format, tokens, blank, fault: None })
}
