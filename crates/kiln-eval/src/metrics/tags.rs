//! Tags taken apart, and where entities begin and end between two of them: conlleval's rules and strict IOB2.
//! Owns no counts and no places; `entities` walks the sequences.
//! Reference: seqeval 1.2, `start_of_chunk`, `end_of_chunk` and `scheme.IOB2`.

use super::MetricError;

/// How tags are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EntityScheme {
    /// conlleval's rules: an `I-` that follows nothing of its type begins an entity.
    #[default]
    Lenient,
    /// IOB2: an entity is a `B-` and the `I-` of its type that follow; any other `I-` is ignored.
    StrictIob2,
}

/// A tag taken apart. Types are numbers into the list of type names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) prefix: char,
    pub(crate) kind: usize,
}

/// The type of tags without one, `O` among them.
pub(crate) const OUTSIDE: &str = "_";

/// Prefix and type of a tag: its first character, and what follows the first hyphen after it (strict: what is left
/// without hyphens around it).
pub(crate) fn split(tag: &str, scheme: EntityScheme) -> Result<(char, String), MetricError> {
    let expected = match scheme {
        EntityScheme::Lenient => "at least one character",
        EntityScheme::StrictIob2 => "O, or B- or I- and a type (IOB2)",
    };
    let refuse = || MetricError::Tag { tag: tag.to_owned(), expected };
    let mut rest = tag.chars();
    let prefix = rest.next().ok_or_else(refuse)?;
    let rest = rest.as_str();
    let kind = match scheme {
        EntityScheme::Lenient => rest.split_once('-').map_or(rest, |(_, kind)| kind),
        EntityScheme::StrictIob2 if !"BIO".contains(prefix) => return Err(refuse()),
        EntityScheme::StrictIob2 => rest.trim_matches('-'),
    };
    Ok((prefix, if kind.is_empty() { OUTSIDE } else { kind }.to_owned()))
}

/// conlleval: whether an entity ends before this tag.
pub(crate) fn ends(previous: Option<Tag>, tag: Tag) -> bool {
    previous.is_some_and(|before| match (before.prefix, tag.prefix) {
        ('E' | 'S', _) | ('B' | 'I', 'B' | 'S' | 'O') => true,
        ('O' | '.', _) => false,
        _ => before.kind != tag.kind,
    })
}

/// conlleval: whether an entity begins with this tag.
pub(crate) fn begins(previous: Option<Tag>, tag: Tag) -> bool {
    match (previous.map_or('O', |before| before.prefix), tag.prefix) {
        (_, 'B' | 'S') | ('E' | 'S' | 'O', 'E' | 'I') => true,
        (_, 'O' | '.') => false,
        _ => previous.is_none_or(|before| before.kind != tag.kind),
    }
}

/// Strict IOB2: whether an entity ends before this tag, and whether one begins with it.
pub(crate) fn step_iob2(previous: Option<Tag>, tag: Tag) -> (bool, bool) {
    let goes_on = tag.prefix == 'I' && previous.is_some_and(|before| before.kind == tag.kind);
    (inside(previous) && !goes_on, tag.prefix == 'B')
}

pub(crate) fn inside(previous: Option<Tag>) -> bool {
    previous.is_some_and(|before| before.prefix != 'O')
}
