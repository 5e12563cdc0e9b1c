//! Entity precision, recall and F1 of tag sequences, as seqeval counts them: an entity is right when type, first and
//! last token are.
//! Owns the entities' places and the counts by type; `tags` says where one begins and ends. Knows no label file.
//! Reference: seqeval 1.2 (`get_entities`, conlleval's rules: any of B- I- E- S- and bare tags, nothing refused) and its
//! `mode="strict", scheme=IOB2`.

use std::collections::BTreeMap;

use super::counts::average;
use super::tags::{EntityScheme, OUTSIDE, Tag, begins, ends, inside, split, step_iob2};
use super::{Average, Counts, MetricError, Quality, check_class, check_length};

/// An entity: type, first token, last token.
type Span = (usize, u64, u64);

/// Where a reader of tags stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Reader {
    previous: Option<Tag>,
    begin: u64,
}

/// Counts of entities by type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entities {
    scheme: EntityScheme,
    tags: Vec<Tag>,
    kinds: Vec<String>,
    counts: Vec<Counts>,
    readers: [Reader; 2],
    position: u64,
}

impl Entities {
    /// Nothing yet, over these tags (`O`, `B-PER`, `I-PER`, ...).
    ///
    /// # Errors
    /// A tag is empty, or is none of `B`, `I`, `O` in strict IOB2.
    pub fn new(tags: &[String], scheme: EntityScheme) -> Result<Self, MetricError> {
        // Types in order of name.
        let read: Vec<(char, String)> =
            tags.iter().map(|tag| split(tag, scheme)).collect::<Result<_, _>>()?;
        let mut kinds: BTreeMap<String, usize> = read.iter().map(|(_, kind)| (kind.clone(), 0)).collect();
        kinds.insert(OUTSIDE.to_owned(), 0);
        kinds.values_mut().enumerate().for_each(|(i, kind)| *kind = i);
        Ok(Self {
            scheme,
            tags: read.iter().map(|(prefix, kind)| Tag { prefix: *prefix, kind: kinds[kind] }).collect(),
            counts: vec![Counts::default(); kinds.len()],
            kinds: kinds.into_keys().collect(),
            readers: [Reader::default(); 2],
            position: 0,
        })
    }

    /// Adds one sequence: its right tags and the tags answered, as numbers into the list of tags.
    ///
    /// # Errors
    /// The lengths differ, or a number is not of a tag.
    pub fn add(&mut self, truth: &[usize], answer: &[usize]) -> Result<(), MetricError> {
        check_length("tags answered", truth.len(), answer.len())?;
        truth.iter().chain(answer).try_for_each(|tag| check_class(*tag, self.tags.len()))?;
        let length = truth.len() as u64;
        let truth = self.spans(0, truth);
        let answer = self.spans(1, answer);
        self.position += length + 1;
        for (kind, ..) in &truth {
            self.counts[*kind].support += 1;
        }
        for span in &answer {
            self.counts[span.0].answered += 1;
            // Entities are in order of their last token, each of which ends at most one.
            let same_end = truth.binary_search_by_key(&span.2, |right| right.2);
            self.counts[span.0].right += u64::from(same_end.is_ok_and(|i| truth[i] == *span));
        }
        Ok(())
    }

    /// The entities of one sequence of tags answered: type, first and last place. Counts nothing.
    ///
    /// # Errors
    /// A number is not of a tag.
    pub fn find(&self, tags: &[usize]) -> Result<Vec<(&str, usize, usize)>, MetricError> {
        tags.iter().try_for_each(|tag| check_class(*tag, self.tags.len()))?;
        let mut fresh = Self { readers: [Reader::default(); 2], position: 0, ..self.clone() };
        let spans = fresh.spans(0, tags);
        let named = spans
            .into_iter()
            .map(|(kind, first, last)| (self.kinds[kind].as_str(), first as usize, last as usize));
        Ok(named.collect())
    }

    /// Adds the sequences of another.
    ///
    /// # Errors
    /// It has other types.
    pub fn merge(&mut self, other: &Self) -> Result<(), MetricError> {
        check_length("types", self.kinds.len(), other.kinds.len())?;
        if let Some((_, kind)) = self.kinds.iter().zip(&other.kinds).find(|(a, b)| a != b) {
            return Err(MetricError::Tag { tag: kind.clone(), expected: "the same types on both sides" });
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|(a, b)| a.merge(b));
        Ok(())
    }

    /// Counts of each type that was there or answered, in order of name.
    pub fn per_type(&self) -> Vec<(&str, Counts)> {
        let types = self.kinds.iter().map(String::as_str).zip(self.counts.iter().copied());
        types.filter(|(_, counts)| counts.support + counts.answered > 0).collect()
    }

    /// Precision, recall and F1 over the types that were there or answered. Without any, micro and weighted are 0, as
    /// seqeval defines it, and macro is `None`.
    pub fn quality(&self, how: Average) -> Option<Quality> {
        let counts: Vec<_> = self.per_type().into_iter().map(|(_, counts)| counts).collect();
        average(&counts, how)
    }

    /// The entities of one side's sequence, in order of their last token. Places count on through all sequences, each
    /// closed by an `O`: a lenient reader carries its state over, as seqeval does.
    fn spans(&mut self, side: usize, tags: &[usize]) -> Vec<Span> {
        let mut spans = Vec::new();
        let outside =
            Tag { prefix: 'O', kind: self.kinds.iter().position(|kind| kind == OUTSIDE).unwrap_or(0) };
        let tags = tags.iter().map(|tag| self.tags[*tag]).chain([outside]);
        for (place, tag) in (self.position..).zip(tags) {
            let reader = &mut self.readers[side];
            let previous = reader.previous;
            let (ends, begins) = match self.scheme {
                EntityScheme::Lenient => (ends(previous, tag), begins(previous, tag)),
                EntityScheme::StrictIob2 => step_iob2(previous, tag),
            };
            if let Some(Tag { kind, .. }) = previous.filter(|_| ends) {
                spans.push((kind, reader.begin, place - 1));
            }
            if begins {
                reader.begin = place;
            }
            let ignored =
                self.scheme == EntityScheme::StrictIob2 && tag.prefix == 'I' && (ends || !inside(previous));
            reader.previous = Some(if ignored { outside } else { tag });
        }
        spans
    }
}
