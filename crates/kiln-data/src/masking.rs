//! Tokens hidden for a masked language model (Devlin et al., 2018): which ones, and what stands in their place.
//! Owns the choice, a pure function of the sample's tokens and one seed; never tokenizes.
//! Reference: transformers' `DataCollatorForLanguageModeling`. Of the chosen tokens 80 % become the mask token, 10 % a
//! uniformly drawn token of the vocabulary, 10 % stay. Special tokens are never chosen. Whole words are chosen as one
//! and each of their tokens is then treated by itself, as BERT's authors did (transformers masks them all).

use kiln_core::{IGNORE, MaskingConfig};
use tokenizers::Encoding;

use crate::batch::Features;
use crate::label::Label;
use crate::order::{below, generator, unit};
use crate::text_program::TextProgram;

/// Hides tokens of a sample. The label holds the hidden ids, [`IGNORE`] elsewhere; nothing may be chosen at all.
pub(crate) fn mask(
    encoding: &Encoding,
    text: &TextProgram,
    mask_id: u32,
    config: MaskingConfig,
    seed: u64,
) -> (Features, Label) {
    let mut rng = generator(seed);
    let mut ids = encoding.get_ids().to_vec();
    let mut wanted = vec![IGNORE; ids.len()];
    for group in groups(encoding, text, config.whole_word) {
        if unit(&mut rng) >= config.mlm_probability {
            continue;
        }
        for place in group {
            wanted[place] = i64::from(ids[place]);
            let draw = unit(&mut rng);
            if draw < 0.8 {
                ids[place] = mask_id;
            } else if draw < 0.9 {
                ids[place] = below(&mut rng, text.vocab_size) as u32;
            }
        }
    }
    (Features::Tokens { ids, types: encoding.get_type_ids().to_vec() }, Label::Tokens(wanted))
}

/// What is chosen as one: each token that is not special, or the tokens of each word.
fn groups(encoding: &Encoding, text: &TextProgram, whole_word: bool) -> Vec<Vec<usize>> {
    let (words, sequences) = (encoding.get_word_ids(), encoding.get_sequence_ids());
    let special = |place: usize| {
        encoding.get_special_tokens_mask()[place] == 1 || text.special.contains(&encoding.get_ids()[place])
    };
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for place in (0..encoding.len()).filter(|place| !special(*place)) {
        let same = |before: usize| {
            before + 1 == place
                && words[place].is_some()
                && (words[before], sequences[before]) == (words[place], sequences[place])
        };
        match groups.last_mut() {
            Some(group) if whole_word && group.last().is_some_and(|before| same(*before)) => {
                group.push(place)
            }
            _ => groups.push(vec![place]),
        }
    }
    groups
}
