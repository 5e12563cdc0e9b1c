//! A growing text cut into pieces that can be sent and never taken back.
//! Owns what is held back: half a character, and what may be the beginning of a stop string.

/// Stands for bytes of a character that is not complete yet.
const HALF: char = '\u{FFFD}';

/// What was sent of a text.
pub(super) struct Pieces<'a> {
    sent: String,
    stop: &'a [String],
}

impl<'a> Pieces<'a> {
    pub(super) fn new(stop: &'a [String]) -> Self {
        Self { sent: String::new(), stop }
    }

    /// What can be sent of the text so far beyond what was.
    pub(super) fn next(&mut self, text: &str) -> Option<String> {
        let whole = text.trim_end_matches(HALF);
        self.beyond(&whole[..whole.len() - self.held_back(whole)])
    }

    /// The rest of the whole text. Nothing where a tokenizer took back what was sent: the whole text follows anyway.
    pub(super) fn last(&mut self, text: &str) -> Option<String> {
        self.beyond(text)
    }

    fn beyond(&mut self, text: &str) -> Option<String> {
        let piece = text.strip_prefix(self.sent.as_str()).filter(|piece| !piece.is_empty())?.to_string();
        self.sent.push_str(&piece);
        Some(piece)
    }

    /// Bytes at the text's end that a stop string may begin with.
    fn held_back(&self, text: &str) -> usize {
        let begins = |stop: &String| {
            let mut cuts = stop.char_indices().map(|(at, _)| at).rev();
            cuts.find(|at| text.ends_with(&stop[..*at])).unwrap_or(0)
        };
        self.stop.iter().map(begins).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_add_up_to_the_text_and_hold_back_what_may_be_taken_back() {
        let stop = ["END".to_string(), "é!".to_string()];
        let mut pieces = Pieces::new(&stop);
        let mut all = String::new();
        for (text, piece) in [
            ("a", Some("a")),
            ("a E", Some(" ")),
            ("a EN", None),
            ("a ENT\u{FFFD}", Some("ENT")),
            ("a ENTé", None),
            ("a ENTé?", Some("é?")),
        ] {
            let own = pieces.next(text);
            assert_eq!(own.as_deref(), piece, "{text}");
            all += &own.unwrap_or_default();
        }
        assert_eq!(pieces.next("a ENTé?E"), None);
        all += &pieces.last("a ENTé?E").unwrap();
        assert_eq!(all, "a ENTé?E");
        assert_eq!(pieces.last("something else"), None);
    }
}
