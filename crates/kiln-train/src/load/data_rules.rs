//! Rules of the `[data]` table: columns, labels, transforms, tokenizers.
//! Owns no look inside a file (`Dataset::check` does that); part of `load`.

use kiln_core::TaskKind;
use kiln_data::config::{
    Column, ConllData, CorpusData, CorpusTokenizerKind, DataConfig, Fill, ImageData, LabelColumns,
    MixupConfig, NumbersConfig, TableData, TokenizerConfig, TokenizerKind, Transform, faults,
};

use super::Rules;

impl Rules<'_> {
    pub(super) fn data(&mut self) {
        self.loader();
        if !self.config.data.sources().is_empty() {
            return self.each_source();
        }
        self.places();
        self.samples();
    }

    /// What is read, and what is done to it.
    pub(super) fn samples(&mut self) {
        match &self.config.data {
            DataConfig::ImageFolder(images) | DataConfig::Webdataset(images) | DataConfig::Npz(images) => {
                self.images(images, images.channels.unwrap_or(3));
            }
            DataConfig::Idx(images) => self.images(images, images.channels.unwrap_or(1)),
            DataConfig::Csv(table) | DataConfig::Tsv(table) => self.rows(table, false),
            DataConfig::Jsonl(table) => self.rows(table, true),
            DataConfig::Parquet(table) => self.parquet(table),
            DataConfig::Conll(words) => self.conll(words),
            DataConfig::Text(text) => self.text(text),
        }
    }

    fn images(&mut self, images: &ImageData, channels: usize) {
        self.mixup(images.mixup);
        self.background(images.background.as_ref());
        self.transforms(channels, &images.transforms);
        let tar = matches!(self.config.data, DataConfig::Webdataset(_));
        let member = images.label_member.is_some() && !tar;
        let message = "`label_member` is for tar files";
        self.fault_if(member, "data.label_member", message, "leave it out, or set kind = \"webdataset\"");
        let arrays = images.arrays.is_some() && !matches!(self.config.data, DataConfig::Npz(_));
        let message = "`arrays` is for NumPy files";
        self.fault_if(arrays, "data.arrays", message, "leave it out, or set kind = \"npz\"");
    }

    fn text(&mut self, text: &CorpusData) {
        let task = self.config.task.kind();
        let message = format!("plain text teaches causal_language_modeling, and [task] kind is {task}");
        let remedy = "set [task] kind = \"causal_language_modeling\", or give a table with labels";
        self.fault_if(task != TaskKind::CausalLanguageModeling, "data.kind", message, remedy);
        let from_file = text.tokenizer.kind == CorpusTokenizerKind::File;
        let path = text.tokenizer.path.is_some();
        let message = "`path` is of kind = \"file\"; this vocabulary is made from the text";
        self.fault_if(!from_file && path, "data.tokenizer.path", message, "leave out `path` or `kind`");
        let nowhere = from_file && !path && self.config.model.pretrained().is_none();
        let message = "text needs a tokenizer: set `data.tokenizer.path`, or kind = \"characters\"";
        self.fault_if(nowhere, "data.tokenizer", message, "name a tokenizer.json, or set model.pretrained");
    }

    fn transforms(&mut self, channels: usize, transforms: &[Transform]) {
        let odd = !matches!(channels, 1 | 3);
        self.fault_if(odd, "data.channels", format!("`channels` is {channels}"), "use 3 (RGB) or 1 (grey)");
        if !odd {
            for (i, fault) in faults(transforms, channels) {
                let dot = if fault.key.is_empty() { "" } else { "." };
                let key = format!("data.transforms.{i}{dot}{}", fault.key);
                self.fault(&key, fault.problem, fault.remedy);
            }
        }
    }

    fn mixup(&mut self, mixup: Option<MixupConfig>) {
        let Some(mixup) = mixup else { return };
        let neither = mixup.mixup_alpha <= 0.0 && mixup.cutmix_alpha <= 0.0;
        let remedy = "for example: mixup_alpha = 0.8";
        self.fault_if(neither, "data.mixup", "both `mixup_alpha` and `cutmix_alpha` are 0", remedy);
        let task = self.config.task.kind();
        let message =
            format!("`mixup` mixes one class a sample, which [task] kind = \"{task}\" does not learn");
        self.fault_if(task != TaskKind::Classification, "data.mixup", message, "leave `mixup` out");
        let odd = self.config.data.loader().batch_size < 2;
        self.fault_if(odd, "data.mixup", "a batch of 1 has no other image to mix with", "raise batch_size");
    }

    fn background(&mut self, background: Option<&Fill>) {
        let levels = match background {
            Some(Fill::Color(levels)) => levels.len(),
            _ => 1,
        };
        let message = format!("`background` has {levels} levels");
        let remedy = "give one level, or red, green and blue: [255, 255, 255]";
        self.fault_if(!matches!(levels, 1 | 3), "data.background", message, remedy);
    }

    fn rows(&mut self, table: &TableData, json: bool) {
        let rows = table.features.is_some() || table.categories.is_some();
        let inputs = [table.text.is_some(), table.tokens.is_some(), table.image.is_some(), rows]
            .into_iter()
            .filter(|there| *there);
        match inputs.count() {
            0 => {
                self.fault(
                    "data",
                    "what the model reads is not said: set `text` or `features`",
                    "for example: text = \"sentence\"; also possible: tokens, image, categories",
                );
            }
            1 => {}
            _ if table.text.is_some() && table.features.is_some() => {
                self.fault("data.features", "both `text` and `features` are set", "keep one of them");
            }
            _ => {
                let message =
                    "only one of `text`, `tokens`, `image`, and `features` with `categories` can be read";
                self.fault("data", message, "keep one of them");
            }
        }
        match (table.text.as_ref().or(table.tokens.as_ref()), &table.image) {
            (Some(_), _) => {
                self.tokenizer(&table.tokenizer);
                self.no_numbers(table, "text");
                self.no_images(table);
            }
            (None, Some(_)) => self.image_column(table),
            (None, None) => self.numbers(table),
        }
        self.words(table, json || self.is_parquet());
        self.columns(table, json);
        self.labels(table);
    }

    fn is_parquet(&self) -> bool {
        matches!(self.config.data, DataConfig::Parquet(_))
    }

    /// Columns have names and an order.
    fn parquet(&mut self, table: &TableData) {
        let message = "Parquet has no header row: its columns have names";
        self.fault_if(!table.header, "data.header", message, "leave `header` out");
        self.rows(table, false);
    }

    /// Sentences in words with one tag each.
    fn conll(&mut self, words: &ConllData) {
        self.tokenizer(&words.tokenizer);
        let same = words.token_column == words.tag_column;
        let message = "`token_column` and `tag_column` are the same column";
        self.fault_if(same, "data.tag_column", message, "give each its place in the line");
        let task = self.config.task.kind();
        let fits = matches!(task, TaskKind::TokenClassification | TaskKind::MaskedLanguageModeling);
        let message = format!("[task] kind = \"{task}\" cannot learn from one tag a word");
        let remedy = "set kind = \"token_classification\"";
        self.fault_if(!fits, "data.kind", message, remedy);
    }

    /// Pairs, lists of words, and rows with several classes.
    fn words(&mut self, table: &TableData, lists: bool) {
        let alone = table.text_pair.is_some() && table.text.is_none();
        let message = "`text_pair` is the second text of a pair, and `text` is not set";
        self.fault_if(alone, "data.text_pair", message, "set `text` to the column of the first");
        let same = table.text_pair.is_some() && table.text_pair == table.text;
        let message = "`text` and `text_pair` are one column, which is read twice";
        self.fault_if(same, "data.text_pair", message, "name the column of the second text");
        let message = "`tokens` is a list of words, which only JSON Lines and Parquet can hold";
        let flat = table.tokens.is_some() && !lists;
        self.fault_if(flat, "data.tokens", message, "use kind = \"jsonl\", or kind = \"conll\"");
        let task = self.config.task.kind();
        let tags = task == TaskKind::TokenClassification && table.tokens.is_none();
        let message = "[task] kind = \"token_classification\" needs sentences in words";
        let remedy = "use kind = \"conll\", or kind = \"jsonl\" with `tokens` and `label` lists";
        self.fault_if(tags, "data", message, remedy);
        let separated = table.label_separator.is_some() && task != TaskKind::MultiLabelClassification;
        let message = format!("`label_separator` is for several classes a row, which {task} does not learn");
        let remedy = "leave it out, or set [task] kind = \"multi_label_classification\"";
        self.fault_if(separated, "data.label_separator", message, remedy);
        let empty = table.label_separator.as_deref() == Some("");
        let remedy = "for example: label_separator = \"|\"";
        self.fault_if(empty, "data.label_separator", "`label_separator` is empty", remedy);
    }

    /// Keys that only texts have.
    fn no_text(&mut self, table: &TableData, what: &str) {
        let unused = table.tokenizer != TokenizerConfig::default();
        let message = format!("{what} are not tokenized");
        self.fault_if(unused, "data.tokenizer", message, "leave [data.tokenizer] out");
    }

    /// Keys that only columns of numbers have.
    fn no_numbers(&mut self, table: &TableData, what: &str) {
        let unused = table.table != NumbersConfig::default();
        let message = format!("`table` is for columns of numbers, and the model reads {what}");
        self.fault_if(unused, "data.table", message, "leave [data.table] out");
    }

    /// Keys that only images have.
    fn no_images(&mut self, table: &TableData) {
        let images = table.channels.is_some()
            || table.background.is_some()
            || table.mixup.is_some()
            || !table.transforms.is_empty();
        let message = "`channels`, `background`, `mixup` and `transforms` are for a column of images";
        self.fault_if(images, "data", message, "leave them out, or set data.image");
    }

    fn image_column(&mut self, table: &TableData) {
        self.no_text(table, "images");
        self.no_numbers(table, "images");
        self.mixup(table.mixup);
        self.background(table.background.as_ref());
        self.transforms(table.channels.unwrap_or(3), &table.transforms);
    }

    fn numbers(&mut self, table: &TableData) {
        let none = |columns: &Option<Vec<Column>>| columns.as_ref().is_some_and(Vec::is_empty);
        let remedy = "name at least one column of numbers";
        self.fault_if(none(&table.features), "data.features", "`features` is empty", remedy);
        let remedy = "name at least one column of categories";
        self.fault_if(none(&table.categories), "data.categories", "`categories` is empty", remedy);
        self.no_text(table, "numbers");
        self.no_images(table);
    }

    /// What is learned needs a label of its own kind.
    fn labels(&mut self, table: &TableData) {
        let (task, labels) = (self.config.task.kind(), table.label_columns());
        let needed = task.has_classes() || task == TaskKind::Regression;
        let message = format!("[task] kind = \"{task}\" needs a label");
        let remedy = "name the column of the label: label = \"...\"";
        self.fault_if(needed && labels.is_empty(), "data", message, remedy);
        let message =
            format!("`label` does nothing in [task] kind = \"{task}\", which learns from the text alone");
        let remedy = "leave it out, or choose a [task] kind that learns it";
        self.fault_if(!needed && !labels.is_empty(), "data.label", message, remedy);
        let several = task == TaskKind::Classification && labels.len() > 1;
        let message = format!("`label` names {} columns, and classification learns one class", labels.len());
        self.fault_if(several, "data.label", message, "name one column, or choose another [task] kind");
    }

    /// Without `pretrained` weights there is no folder in which a tokenizer could be found.
    fn tokenizer(&mut self, tokenizer: &TokenizerConfig) {
        let from_file = tokenizer.kind == TokenizerKind::File;
        let path = tokenizer.path.is_some();
        let message = "`path` is of kind = \"file\"; this tokenizer is built from the training texts";
        self.fault_if(!from_file && path, "data.tokenizer.path", message, "leave out `path` or `kind`");
        let usual = TokenizerConfig::default();
        for (key, set) in [
            ("max_vocab", tokenizer.max_vocab != usual.max_vocab),
            ("min_frequency", tokenizer.min_frequency != usual.min_frequency),
        ] {
            let message = format!("`{key}` is of kind = \"words\"; a tokenizer.json has its own vocabulary");
            let remedy = format!("leave out `{key}`, or set kind = \"words\"");
            self.fault_if(from_file && set, &format!("data.tokenizer.{key}"), message, remedy);
        }
        let nowhere = from_file && !path && self.config.model.pretrained().is_none();
        let message = "text needs a tokenizer: set `data.tokenizer.path`";
        self.fault_if(nowhere, "data.tokenizer", message, "name a tokenizer.json, or set model.pretrained");
    }

    /// Columns can be named only where names are, and numbered only where there is an order.
    fn columns(&mut self, table: &TableData, json: bool) {
        self.fault_if(
            json && !table.header,
            "data.header",
            "JSON lines have no header row",
            "leave `header` out",
        );
        let several = matches!(table.label, Some(LabelColumns::Several(_)));
        let place = |i: usize| if several { format!("data.label.{i}") } else { "data.label".into() };
        let labels = table.label_columns();
        let mut columns: Vec<(String, &Column)> =
            labels.iter().enumerate().map(|(i, column)| (place(i), column)).collect();
        let mut inputs: Vec<(String, &Column)> = Vec::new();
        inputs.extend(table.text.iter().map(|column| ("data.text".into(), column)));
        inputs.extend(table.text_pair.iter().map(|column| ("data.text_pair".into(), column)));
        inputs.extend(table.tokens.iter().map(|column| ("data.tokens".into(), column)));
        inputs.extend(table.image.iter().map(|column| ("data.image".into(), column)));
        for (key, list) in [("features", &table.features), ("categories", &table.categories)] {
            let list = list.iter().flatten().enumerate();
            inputs.extend(list.map(|(i, column)| (format!("data.{key}.{i}"), column)));
        }
        for (i, (key, column)) in inputs.iter().enumerate() {
            let message = "the label's column is also what the model reads";
            let remedy = "the answer must not be in the question: choose another column";
            self.fault_if(labels.contains(column), key, message, remedy);
            let rows = table.text.is_none() && table.image.is_none();
            let twice = rows && inputs[..i].iter().any(|(_, other)| other == column);
            self.fault_if(twice, key, format!("column {column} is read twice"), "name each column once");
        }
        columns.append(&mut inputs);
        for (key, column) in columns {
            match column {
                Column::Name(name) if !json && !table.header => {
                    let message = format!("column \"{name}\" has no name to be found by: header = false");
                    self.fault(&key, message, "give the column's place, from 0");
                }
                Column::Index(i) if json => {
                    self.fault(&key, format!("JSON keys have no order: column {i}"), "give the key's name");
                }
                _ => {}
            }
        }
    }
}
