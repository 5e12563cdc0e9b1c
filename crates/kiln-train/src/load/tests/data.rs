//! Rules of `[data]`: sources, tables and their labels, pairs and words, transforms of texts.

use super::*;

#[test]
fn rules_of_data() {
    refused(&IMAGES.replace("path = \"there\"", ""), &[], "set `path` or `train`");
    refused(IMAGES, &["data.path=.", "data.train=."], "both `path` and `train`");
    refused(
        IMAGES,
        &["data.validation=.", "data.validation_fraction=0.1"],
        "both `validation` and `validation_fraction`",
    );
    refused(IMAGES, &["data.test=.", "data.test_fraction=0.1"], "both `test` and `test_fraction`");
    refused(IMAGES, &["data.validation_fraction=0.5", "data.test_fraction=0.5"], "add up to 1");
    refused(IMAGES, &["data.channels=2"], "`channels` is 2");
    refused(IMAGES, &["data.classes=['a']"], "names 1 class");
    refused(IMAGES, &["data.classes=['a', 'a']"], "names \"a\" twice");
    refused(IMAGES, &["data.loader.length_bucketing=true"], "no text to sort");
    refused(IMAGES, &["data.mixup={}"], "both `mixup_alpha` and `cutmix_alpha` are 0");
    refused(IMAGES, &["data.mixup={ mixup_alpha = 1 }", "data.loader.batch_size=1"], "no other image");
    assert_eq!(records(IMAGES, &["data.mixup={ cutmix_alpha = 1.0, mixup_mode = 'pair' }"]), []);
    refused(IMAGES, &["data.background=[1, 2]"], "`background` has 2 levels");
    let normalize = |mean: &str, std: &str| {
        format!("data.transforms=[{{ kind = 'normalize', mean = {mean}, std = {std} }}]")
    };
    refused(IMAGES, &[&normalize("[0.5]", "[1, 1, 1]")], "`mean` has 1 numbers for 3 channels");
    refused(IMAGES, &[&normalize("[0, 0, 0]", "[1, 0, 1]")], "`std` holds a zero");
    assert_eq!(records(IMAGES, &[&normalize("[0]", "[1]"), "data.kind=idx"]), []);
    let crop = "data.transforms=[{ kind = 'center_crop', size = [0, 4] }]";
    refused(IMAGES, &[crop], "sides are 1 to 65535");
    refused(&TEXT.replace("text = \"sentence\"", ""), &["model.kind=mlp"], "set `text` or `features`");
    refused(TEXT, &["data.text=a", "data.features=['a']"], "both `text` and `features`");
    refused(TEXT, &["data.text=label"], "the label's column");
    refused(TEXT, &["data.kind=jsonl", "data.text=0"], "JSON keys have no order");
    refused(TEXT, &["data.kind=jsonl", "data.header=false"], "no header row");
    refused(TEXT, &["data.header=false", "data.label=1"], "column \"sentence\" has no name");
    let numbers = TEXT.replace("text = \"sentence\"", "features = ['a']").replace("bert", "mlp");
    assert_eq!(records(&numbers, &[]), []);
    refused(&numbers, &["data.features=[]"], "`features` is empty");
    refused(&numbers, &["data.tokenizer.max_length=9"], "numbers are not tokenized");
}

#[test]
fn rules_of_tables_and_their_labels() {
    let numbers = TEXT.replace("text = \"sentence\"", "features = ['a']").replace("bert", "mlp");
    let regression = "task={ kind = 'regression', standardize = true }";
    assert_eq!(records(&numbers, &[regression, "data.label=['x', 'y']", "data.categories=['b']"]), []);
    refused(&numbers, &["data.label=['x', 'y']"], "classification learns one class");
    refused(&numbers.replace("label = \"label\"", ""), &[regression], "needs a label");
    refused(&numbers, &[regression, "data.label=['x', 'a']"], "the label's column");
    refused(&numbers, &["data.categories=['label']"], "the label's column");
    refused(&numbers, &["data.categories=['a']"], "column \"a\" is read twice");
    refused(&numbers, &["data.categories=[]"], "`categories` is empty");
    refused(&numbers, &["data.transforms=[{ kind = 'center_crop', size = 4 }]"], "for a column of images");
    let image = numbers.replace("features = ['a']", "image = 'file'");
    assert_eq!(records(&image, &[]), []);
    refused(&image, &["data.categories=['b']"], "only one of `text`, `tokens`, `image`");
    refused(&image, &["data.channels=2"], "`channels` is 2");
    refused(&image, &["model={ kind = 'ft_transformer' }"], "does not read images");
    let words = TEXT.replace("bert", "textcnn").replace("pretrained = \"there\"", "");
    refused(&words, &[], "text needs a tokenizer");
    assert_eq!(records(&words, &["data.tokenizer.kind=words"]), []);
    refused(&words, &["data.tokenizer={ kind = 'words', path = 'src' }"], "built from the training texts");
    refused(&words, &["data.tokenizer.kind=words", "model.kernel_sizes=[]"], "`kernel_sizes` is empty");
    refused(&words, &["data.tokenizer.kind=words", "model.kernel_sizes=[0]"], "must be at least 1");
}

#[test]
fn rules_of_pairs_words_and_several_classes() {
    let task = |kind: &str| format!("task.kind={kind}");
    let (tokens, several) = (task("token_classification"), task("multi_label_classification"));
    assert_eq!(records(TEXT, &["data.text_pair=second"]), []);
    refused(TEXT, &["data.text_pair=sentence"], "is read twice");
    refused(
        &TEXT.replace("text =", "text_pair ="),
        &["data.features=['a']", "model.kind=mlp"],
        "`text_pair` is the second",
    );
    refused(TEXT, &["data.label_separator='|'"], "`label_separator` is for several classes");
    assert_eq!(records(TEXT, &[&several, "data.label_separator='|'"]), []);
    refused(TEXT, &[&several, "data.label_separator=''"], "`label_separator` is empty");
    refused(TEXT, &[&tokens], "needs sentences in words");
    let lists = TEXT.replace("text =", "tokens =");
    refused(&lists, &[&tokens], "only JSON Lines and Parquet can hold");
    assert_eq!(records(&lists.replace("\"tsv\"", "\"jsonl\""), &[&tokens]), []);
    let conll = TEXT.replace("tsv\"", "conll\"").replace("text = \"sentence\"\nlabel = \"label\"\n", "");
    let conll = conll.replace("train.conll\"", "train.tsv\"");
    assert_eq!(records(&conll, &[&tokens]), []);
    refused(&conll, &[&tokens, "data.tag_column=0"], "are the same column");
    refused(&conll, &[], "cannot learn from one tag a word");
}

#[test]
fn rules_of_text_transforms() {
    let list = |words: &str| format!("data.text_transforms=[{words}]");
    let swap = list("{ kind = 'random_swap' }");
    assert_eq!(records(TEXT, &[&swap]), []);
    refused(TEXT, &[&list("{ kind = 'random_swop' }")], "random_swop");
    refused(TEXT, &[&list("{ kind = 'random_insert' }")], "neither `words` nor `synonyms`");
    let rule = |labels: &str| {
        list(&format!("{{ kind = 'rewrite', pattern = 'is', replacement = 'is not', labels = {labels} }}"))
    };
    let classes = "data.classes=['neg', 'pos']";
    assert_eq!(records(TEXT, &[&rule("[['neg', 'pos'], ['pos', 'neg']]"), classes]), []);
    refused(TEXT, &[&rule("[['neg', 'good']]"), classes], "`labels` names \"good\", which is no class");
    refused(TEXT, &[&rule("[['a', 'b']]"), "task.kind=regression"], "`labels` changes the class");
    refused(TEXT, &[&list("{ kind = 'replace', pattern = '(', replacement = '' }")], "no regular expression");
    let numbers = TEXT.replace("text = \"sentence\"", "features = ['a']").replace("bert", "mlp");
    refused(&numbers, &[&swap], "`text_transforms` is for a column of text");
    refused(IMAGES, &[&swap], "unknown key `text_transforms`");
    let lists = TEXT.replace("text =", "tokens =").replace("\"tsv\"", "\"jsonl\"");
    refused(&lists, &["task.kind=token_classification", &swap], "part the words from their tags");
    let hidden = TEXT.replace("label = \"label\"", "");
    let masked = "task.kind=masked_language_modeling";
    refused(&hidden, &[masked, &list("{ kind = 'token_dropout' }")], "has its tokens hidden already");
}
