//! The samples of one split: where each comes from, its class and its name.
//! Owns the choice of rows and their class indices; never decodes ahead of being asked. Hands raw samples to the loader.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use crate::bad::{BadSample, Register};
use crate::batch::Features;
use crate::cache::{Cache, Found};
use crate::config::LoaderConfig;
use crate::decode::{DecodedImage, decode_within};
use crate::error::DataError;
use crate::interleave::{Parts, Weighted};
use crate::label::Label;
use crate::loader::Gate;
use crate::preprocessor::Preprocessor;
use crate::source::Source;
use crate::source::joined::Joined;

/// A sample as its file holds it.
#[derive(Debug, Clone, PartialEq)]
pub enum Raw {
    /// 8-bit pixels `[H, W, C]`.
    Image(DecodedImage),
    /// A text.
    Text(String),
    /// Two texts that are read as one.
    Pair(String, String),
    /// A sentence in words.
    Words(Vec<String>),
    /// A block of token ids, and the one after it.
    Tokens(Vec<u32>),
    /// A row of a table.
    Row {
        /// `F` numbers, NaN where one is missing.
        numbers: Vec<f32>,
        /// `N` words, empty where one is missing.
        categories: Vec<String>,
    },
}

impl Raw {
    /// The word for this kind of sample in messages.
    pub(crate) fn describe(&self) -> String {
        match self {
            Raw::Image(image) => format!("an image of {}x{}", image.height, image.width),
            Raw::Text(_) => "a text".into(),
            Raw::Pair(..) => "a pair of texts".into(),
            Raw::Words(words) => format!("a sentence of {} words", words.len()),
            Raw::Tokens(ids) => format!("{} tokens", ids.len()),
            Raw::Row { numbers, categories } if categories.is_empty() => {
                format!("a row of {} numbers", numbers.len())
            }
            Raw::Row { numbers, categories } => {
                format!("a row of {} numbers and {} categories", numbers.len(), categories.len())
            }
        }
    }
}

/// The samples of training, validation or test. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Split(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: Arc<dyn Source>,
    /// Places in the source.
    rows: Vec<usize>,
    /// Label of each row.
    labels: Vec<Label>,
    lengths: OnceLock<Vec<u32>>,
    bad: Register,
    /// Sources with weights.
    sources: Option<Weighted>,
    /// Decoded images that are kept.
    cache: Option<Arc<Cache>>,
}

impl Split {
    pub(crate) fn new(source: Arc<dyn Source>, rows: Vec<usize>, labels: Vec<Label>) -> Self {
        let (lengths, bad) = (OnceLock::new(), Register::default());
        Self(Arc::new(Inner { source, rows, labels, lengths, bad, sources: None, cache: None }))
    }

    /// The samples of several splits, one after the other.
    pub(crate) fn joined(parts: &[Self], place: String) -> Self {
        let source = Joined::new(parts.iter().map(|part| Arc::clone(&part.0.source)).collect(), place);
        let (mut rows, mut labels, mut before) = (Vec::new(), Vec::new(), 0);
        for part in parts {
            rows.extend(part.0.rows.iter().map(|row| row + before));
            labels.extend(part.0.labels.iter().cloned());
            before += part.0.source.len();
        }
        Self::new(Arc::new(source), rows, labels)
    }

    /// The same, of sources with weights. Of a split that nobody else holds yet, as the next.
    pub(crate) fn with_sources(mut self, sources: Option<Weighted>) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.sources = sources;
        }
        self
    }

    /// The same, with a place where decoded images are kept.
    pub(crate) fn with_cache(mut self, cache: Option<Arc<Cache>>) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.cache = cache;
        }
        self
    }

    /// The same with each class as frequent in training as any other. As the above.
    ///
    /// # Errors
    /// A sample has no class.
    pub(crate) fn balanced(self) -> Result<Self, DataError> {
        let classes: Vec<Option<usize>> = self.0.labels.iter().map(Label::class).collect();
        match Weighted::by_class(&classes) {
            Some(by_class) => Ok(self.with_sources(Some(by_class))),
            None => {
                let without = classes.iter().position(Option::is_none).unwrap_or(0);
                let problem = format!("{} has no class to balance by", self.name(without));
                Err(DataError::config("loader.sampling", problem, "give every training sample a class"))
            }
        }
    }

    /// The sources or classes that training draws from by their weights; `None` where it takes every sample once.
    pub(crate) fn sources(&self) -> Option<&Weighted> {
        self.0.sources.as_ref()
    }

    /// Samples that an epoch takes of each weighted source or balanced class, and those that it has; `None` without.
    pub fn quotas(&self, config: &LoaderConfig) -> Option<Vec<(usize, usize)>> {
        let sources = self.sources()?;
        Some(sources.quotas(config).ok()?.into_iter().zip(sources.sizes.iter().copied()).collect())
    }

    /// Which of the weighted `data.sources` sample `i` is of, from 0; `None` without weights.
    pub fn source_of(&self, i: usize) -> Option<usize> {
        let sizes = &self.0.sources.as_ref().filter(|sources| sources.parts == Parts::Sources)?.sizes;
        let ends = sizes.iter().scan(0, |sum, size| {
            *sum += size;
            Some(*sum)
        });
        ends.enumerate().find(|(_, end)| i < *end).map(|(k, _)| k)
    }

    /// Reads and prepares sample `i` with its label. Images wait in `gate` for room before they are decoded, and what
    /// their fixed transforms make of them comes from the cache where it is kept.
    pub(crate) fn example(
        &self,
        i: usize,
        preprocessor: &Preprocessor,
        augment: Option<u64>,
        gate: &Gate,
    ) -> Result<(Features, Label), DataError> {
        let (label, name) = (self.label(i), self.name(i));
        let (Some(program), Some(&row)) = (preprocessor.images(), self.0.rows.get(i)) else {
            return preprocessor.example(self.raw(i)?, label, &name, augment, i);
        };
        let (source, cache) = (&*self.0.source, self.0.cache.as_deref());
        let fresh =
            match cache.filter(|cache| cache.is_of(program)).map(|cache| (cache, cache.find(source, row))) {
                Some((_, Found::Image(image))) => {
                    let _pass = gate.enter(2 * image.pixels.len() as u64);
                    return Ok((
                        Features::Image(program.finish(image, &name, augment)?),
                        preprocessor.scaled(label),
                    ));
                }
                Some((cache, Found::Not(fresh))) => fresh.map(|fresh| (cache, fresh)),
                None => None,
            };
        let bytes = match &fresh {
            Some((_, fresh)) => Some(Cow::Borrowed(fresh.bytes.as_slice())),
            None => source.encoded(row).ok().flatten().map(|(_, bytes)| Cow::Owned(bytes)),
        };
        let decoded = bytes.and_then(|bytes: Cow<'_, [u8]>| decode_within(&bytes, &name, gate).ok());
        // What is in no file of its own, and the source's own words for what is wrong.
        let (image, _pass) = match decoded {
            Some((image, pass)) => (image, pass),
            None => match source.raw(row)? {
                Raw::Image(image) => (image, None),
                raw => return preprocessor.example(raw, label, &name, augment, i),
            },
        };
        let image = program.begin(image, &name)?;
        if let Some((cache, fresh)) = fresh {
            cache.keep(fresh, &image);
        }
        Ok((Features::Image(program.finish(image, &name, augment)?), preprocessor.scaled(label)))
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.0.rows.len()
    }

    /// Whether there is no sample. An opened dataset has no empty split.
    pub fn is_empty(&self) -> bool {
        self.0.rows.is_empty()
    }

    /// Label of sample `i`.
    pub fn label(&self, i: usize) -> &Label {
        self.0.labels.get(i).unwrap_or(&Label::None)
    }

    /// Where sample `i` comes from: its path, or `file:row`.
    pub fn name(&self, i: usize) -> String {
        self.0.rows.get(i).map_or_else(|| format!("sample {i}"), |&row| self.0.source.name(row))
    }

    /// Reads sample `i`.
    ///
    /// # Errors
    /// A file that is gone, unreadable or damaged; a place beyond the split's end.
    pub fn raw(&self, i: usize) -> Result<Raw, DataError> {
        match self.0.rows.get(i) {
            Some(&row) => self.0.source.raw(row),
            None => Err(DataError::TooFew {
                place: "this split".into(),
                of: format!("(sample {i} was asked for)"),
                needed: i.saturating_add(1),
                got: self.len(),
            }),
        }
    }

    /// Every sample, without those that have a fault of their own: where such may not be left out, the loader ends at them.
    pub(crate) fn usable(&self) -> impl Iterator<Item = Result<Raw, DataError>> {
        let faulty = |raw: &Result<Raw, DataError>| raw.as_ref().is_err_and(DataError::is_of_one_sample);
        (0..self.len()).map(|i| self.raw(i)).filter(move |raw| !faulty(raw))
    }

    /// The shard of each sample.
    pub(crate) fn shards(&self) -> Vec<usize> {
        self.0.rows.iter().map(|&row| self.0.source.shard(row)).collect()
    }

    /// Samples that a loader left out, in the split's order.
    pub fn bad(&self) -> Vec<BadSample> {
        self.0.bad.all()
    }

    /// How many samples a loader left out.
    pub fn bad_count(&self) -> usize {
        self.0.bad.count()
    }

    /// Counts a sample as left out, once; how many there are now.
    pub fn leave_out(&self, sample: BadSample) -> usize {
        self.0.bad.add(sample)
    }

    /// The name and the bytes of the file that sample `i` is decoded from; `None` where no file holds it alone.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn encoded(&self, i: usize) -> Result<Option<(String, Vec<u8>)>, DataError> {
        self.0.rows.get(i).map_or(Ok(None), |&row| self.0.source.encoded(row))
    }

    /// Bytes of the file that sample `i` is decoded from, where that is known without reading it.
    pub(crate) fn file_size(&self, i: usize) -> Option<u64> {
        self.0.rows.get(i).and_then(|&row| self.0.source.file_size(row))
    }

    /// Samples of each of `classes` classes.
    pub fn class_counts(&self, classes: usize) -> Vec<usize> {
        let mut counts = vec![0; classes];
        for label in self.0.labels.iter().filter_map(Label::class) {
            if let Some(count) = counts.get_mut(label) {
                *count += 1;
            }
        }
        counts
    }

    /// Tokens of each text after truncation; computed once a split, by as many threads as the machine offers. `None`
    /// for images and rows.
    ///
    /// # Errors
    /// As [`Preprocessor::prepare`].
    pub fn lengths(&self, preprocessor: &Preprocessor) -> Result<Option<&[u32]>, DataError> {
        if preprocessor.kind() != "text" || preprocessor.is_corpus() {
            return Ok(None);
        }
        if let Some(lengths) = self.0.lengths.get() {
            return Ok(Some(lengths));
        }
        let lengths = self.measure(preprocessor)?;
        Ok(Some(self.0.lengths.get_or_init(|| lengths)))
    }

    fn measure(&self, preprocessor: &Preprocessor) -> Result<Vec<u32>, DataError> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut lengths = vec![0; self.len()];
        let part = self.len().div_ceil(threads).max(1);
        std::thread::scope(|scope| {
            let workers: Vec<_> = lengths
                .chunks_mut(part)
                .enumerate()
                .map(|(k, chunk)| scope.spawn(move || self.measure_part(preprocessor, k * part, chunk)))
                .collect();
            workers.into_iter().try_for_each(|worker| {
                let crashed = |_| DataError::Crashed {
                    name: "a text".into(),
                    message: "the tokenizer panicked".into(),
                };
                worker.join().map_err(crashed)?
            })
        })?;
        Ok(lengths)
    }

    fn measure_part(
        &self,
        preprocessor: &Preprocessor,
        from: usize,
        out: &mut [u32],
    ) -> Result<(), DataError> {
        for (k, length) in out.iter_mut().enumerate() {
            match self.raw(from + k).and_then(|raw| preprocessor.prepare(raw, None)) {
                Ok(Features::Tokens { ids, .. }) => *length = ids.len() as u32,
                Ok(_) => {}
                Err(fault) if fault.is_of_one_sample() => {} // the loader says it
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }
}
