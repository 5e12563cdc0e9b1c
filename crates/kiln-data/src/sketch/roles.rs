//! Which column is the label, which the input, which neither.
//! Owns the names and rules by which columns are guessed; counts nothing itself. Part of `sketch`.

use crate::look::Profile;

/// Names of labels, likeliest first, in lower case.
const LABELS: [&str; 22] = [
    "label",
    "labels",
    "class",
    "target",
    "category",
    "categories",
    "sentiment",
    "y",
    "stars",
    "rating",
    "outcome",
    "species",
    "survived",
    "diagnosis",
    "intent",
    "topic",
    "emotion",
    "score",
    "quality",
    "price",
    "income",
    "churn",
];
/// Names of texts, likeliest first.
const TEXTS: [&str; 16] = [
    "text",
    "sentence",
    "review",
    "content",
    "body",
    "comment",
    "document",
    "tweet",
    "message",
    "description",
    "question",
    "query",
    "utterance",
    "abstract",
    "title",
    "sms",
];
/// Names of two texts that are read together.
const PAIRS: [(&str, &str); 7] = [
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("text_a", "text_b"),
    ("text1", "text2"),
    ("query", "passage"),
];
/// Names of columns that only number the rows.
const IDS: [&str; 8] = ["id", "idx", "index", "uuid", "guid", "row", "rowid", "unnamed: 0"];
/// Different whole numbers that may be classes.
const FEW: usize = 20;
/// Different words that may be classes.
const CLASSES: usize = 1000;

/// Texts of fewer words under an unusual name are left out where a table has other columns.
const LONG: f64 = 15.0;

/// Whether a column only numbers the rows.
fn is_id(column: &Profile) -> bool {
    let name = column.name.trim().to_lowercase();
    let unique = column.values.len() == column.there() && column.there() > 20;
    let named = IDS.contains(&name.as_str()) || name.ends_with("_id") || name.ends_with("id") && unique;
    named && (unique || column.many) || name.is_empty()
}

/// Whether its values may be classes.
pub(super) fn may_be_classes(column: &Profile) -> bool {
    let distinct = column.values.len();
    if column.many || column.lists + column.opaque > 0 || distinct < 2 {
        return false;
    }
    let few = match column.numeric() {
        true => distinct <= FEW && column.whole == column.numbers,
        false => distinct <= CLASSES,
    };
    few && (column.classes > 0 || distinct * 2 <= column.there().max(1))
}

/// Whether its name is a usual one of a text.
fn is_called_text(column: &Profile) -> bool {
    let name = column.name.trim().to_lowercase();
    TEXTS.contains(&name.as_str()) || PAIRS.iter().any(|(a, b)| *a == name || *b == name)
}

/// Whether it is text to read rather than a word; `alone` where the table has little else.
fn is_text(column: &Profile, alone: bool) -> bool {
    let enough = match (is_called_text(column), alone) {
        (true, _) => 1.2,
        (false, true) => 6.0,
        (false, false) => LONG,
    };
    column.kind() == "text" && column.mean_words() >= enough
}

/// Whether its values are names of image files.
fn is_image_path(column: &Profile) -> bool {
    let texts = column.texts > 0 && column.numbers == 0 && column.lists + column.opaque == 0;
    let named = ["image", "img", "file", "filename", "file_name", "path", "image_path", "picture", "photo"]
        .contains(&column.name.trim().to_lowercase().as_str());
    let mut values = column.values.keys();
    texts
        && if column.many {
            named
        } else {
            values.len() > 0 && values.all(|v| crate::source::folder::is_image(std::path::Path::new(v)))
        }
}

/// What the columns are for, by their places.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Roles {
    pub(super) label: Option<usize>,
    pub(super) image: Option<usize>,
    pub(super) text: Option<usize>,
    pub(super) pair: Option<usize>,
    pub(super) features: Vec<usize>,
    pub(super) categories: Vec<usize>,
    /// What was guessed, and what was left out.
    pub(super) notes: Vec<String>,
}

/// Guesses around what was said.
pub(super) fn roles(columns: &[Profile], label: Option<usize>, text: Option<usize>) -> Roles {
    let mut roles = Roles { label, text, ..Roles::default() };
    let name = |k: usize| columns[k].name.as_str();
    let lower = |k: usize| columns[k].name.trim().to_lowercase();
    let all = || 0..columns.len();
    roles.image = all().find(|&k| columns[k].images > 0 || (Some(k) != label && is_image_path(&columns[k])));
    let other = |k: &usize| matches!(columns[*k].kind(), "numbers" | "words") && !is_id(&columns[*k]);
    let alone = all().filter(other).count() < 3; // one may be the label
    let texts: Vec<usize> = all().filter(|&k| Some(k) != label && is_text(&columns[k], alone)).collect();
    if roles.image.is_none() && roles.text.is_none() {
        let pair = PAIRS.iter().find_map(|(a, b)| {
            let at = |word: &str| texts.iter().copied().find(|&k| lower(k) == word);
            Some((at(a)?, at(b)?))
        });
        let named = TEXTS.iter().find_map(|word| texts.iter().copied().find(|&k| lower(k) == *word));
        let longest = texts
            .iter()
            .copied()
            .max_by(|&a, &b| columns[a].mean_words().total_cmp(&columns[b].mean_words()));
        match pair {
            Some((a, b)) => {
                (roles.text, roles.pair) = (Some(a), Some(b));
                roles.notes.push(format!("\"{}\" and \"{}\" are read as a pair of texts", name(a), name(b)));
            }
            None => roles.text = named.or(longest),
        }
    }
    if roles.label.is_none() {
        roles.label = guess_label(columns, &mut roles);
    }
    if roles.image.is_none() && roles.text.is_none() {
        for k in all().filter(|&k| Some(k) != roles.label) {
            match columns[k].kind() {
                _ if is_id(&columns[k]) => {
                    roles.notes.push(format!("\"{}\" only numbers the rows and is left out", name(k)));
                }
                "numbers" => roles.features.push(k),
                "words" => roles.categories.push(k),
                "text" => roles.notes.push(format!(
                    "\"{}\" has {} and is left out of the table's columns",
                    name(k),
                    if columns[k].many {
                        "more than 10000 different values".into()
                    } else {
                        format!("{} different values", columns[k].values.len())
                    }
                )),
                kind => roles.notes.push(format!("\"{}\" ({kind}) is left out", name(k))),
            }
        }
        let whole = |k: &&usize| {
            columns[**k].whole == columns[**k].numbers && (3..=10).contains(&columns[**k].values.len())
        };
        let may: Vec<&str> = roles.features.iter().filter(whole).map(|&k| name(k)).collect();
        if !may.is_empty() {
            roles.notes.push(format!(
                "few different whole numbers, read as numbers; where they only name a kind, put them into categories: {}",
                may.join(", ")
            ));
        }
    } else {
        let used = [roles.image, roles.text, roles.pair, roles.label];
        let rest: Vec<&str> = all().filter(|k| !used.contains(&Some(*k))).map(name).collect();
        if !rest.is_empty() {
            let what = if roles.image.is_some() { "image" } else { "text" };
            roles.notes.push(format!("the model reads the {what} alone; left out: {}", rest.join(", ")));
        }
    }
    roles
}

/// By name, else the only column that may be classes, else the last column.
fn guess_label(columns: &[Profile], roles: &mut Roles) -> Option<usize> {
    let used = [roles.image, roles.text, roles.pair];
    let free = |k: &usize| {
        let c = &columns[*k];
        !used.contains(&Some(*k)) && c.lists + c.opaque == 0 && c.there() > 0 && !is_id(c)
    };
    let all: Vec<usize> = (0..columns.len()).filter(free).collect();
    let lower = |k: usize| columns[k].name.trim().to_lowercase();
    let name = |k: usize| columns[k].name.clone();
    if let Some(k) = all.iter().copied().find(|&k| columns[k].classes > 0) {
        return Some(k);
    }
    let named = LABELS.iter().find_map(|word| all.iter().copied().find(|&k| lower(k) == *word));
    if let Some(k) = named {
        return Some(k);
    }
    let classes: Vec<usize> = all.iter().copied().filter(|&k| may_be_classes(&columns[k])).collect();
    let read = roles.image.is_some() || roles.text.is_some();
    let guess = match classes.as_slice() {
        [only] if read => Some(*only),
        _ if read => classes.last().copied(),
        _ => all.last().copied(),
    };
    if let Some(k) = guess {
        let others: Vec<String> = classes
            .iter()
            .filter(|&&other| other != k)
            .map(|&other| format!("\"{}\"", name(other)))
            .collect();
        let others = if others.is_empty() {
            String::new()
        } else {
            format!("; it could also be {}", others.join(", "))
        };
        roles.notes.push(format!(
            "no column has a usual name of a label: \"{}\" was taken{}{others}",
            name(k),
            if Some(&k) == all.last() { ", the last one" } else { "" }
        ));
    }
    guess
}
