//! Which kind of data a file or folder is.
//! Owns the telling apart; `table` looks into tables, and images are looked at here. Part of `sketch`.

use std::path::{Path, PathBuf};

use kiln_core::TaskKind;
use serde_json::json;

use super::{Sketch, SketchInputs, Wish, refused, table};
use crate::config::DataConfig;
use crate::error::DataError;
use crate::layout::Layout;
use crate::shards;
use crate::source::Source;
use crate::source::folder::is_image;
use crate::source::rows::Separated;
use crate::source::table::Format;
use crate::split::Raw;

/// Images whose size is read.
const SIZES: usize = 300;
/// Images that are decoded to see whether they are grey.
const DECODED: usize = 16;
/// Deeper folders are not looked into for a first image.
const DEPTH: usize = 3;
/// The words of file names that say a split.
const SPLITS: [(&str, &[&str]); 3] = [
    ("train", &["train", "training"]),
    ("validation", &["validation", "valid", "val", "dev"]),
    ("test", &["test"]),
];

/// A table's kind by its ending.
pub(super) fn table_kind(path: &Path) -> Option<(&'static str, Format)> {
    let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_lowercase();
    Some(match ending.as_str() {
        "csv" => ("csv", Format::Separated(Separated::Comma)),
        "tsv" => ("tsv", Format::Separated(Separated::Tab)),
        "jsonl" | "ndjson" => ("jsonl", Format::Jsonl),
        "parquet" => ("parquet", Format::Parquet),
        _ => return None,
    })
}

/// One file.
pub(super) fn file(path: &Path, wish: &Wish) -> Result<Sketch, DataError> {
    if let Some((kind, format)) = table_kind(path) {
        let files = [vec![path.to_path_buf()], Vec::new(), Vec::new()];
        return table::table(kind, format, vec![("path", path.to_path_buf())], &files, wish);
    }
    let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_lowercase();
    match ending.as_str() {
        "npz" => images("npz", path, wish),
        "tar" => images("webdataset", path, wish),
        "json" => Err(refused(
            path,
            "a .json file is one value; kiln reads tables with one JSON object a line",
            "write one object a line and call it .jsonl",
        )),
        "txt" => Err(refused(
            path,
            "plain text has no labels; a language model can learn from it, and its sizes are not guessed",
            "write a config with [data] kind = \"text\", as configs/shakespeare_char.toml",
        )),
        "zip" | "gz" | "tgz" | "xz" | "bz2" | "7z" => {
            Err(refused(path, "an archive", "unpack it, and give the folder"))
        }
        _ => Err(refused(
            path,
            "expected a table (.csv, .tsv, .jsonl, .parquet), .npz or .tar",
            "give such a file, or a folder with one folder of images a class",
        )),
    }
}

/// A folder: of images, tables, shards or IDX files.
pub(super) fn folder(path: &Path, wish: &Wish) -> Result<Sketch, DataError> {
    let (folders, files) = listed(path)?;
    let below = path.join("data");
    let parquet =
        [path, &below].into_iter().any(|p| shards::listed(p, "parquet").is_ok_and(|f| !f.is_empty()));
    let tables: Vec<&PathBuf> =
        files.iter().filter(|file| table_kind(file).is_some_and(|(kind, _)| kind != "parquet")).collect();
    let with = |ending: &str| files.iter().filter(|f| f.extension().is_some_and(|own| own == ending)).count();
    let idx = files.iter().any(|f| f.to_string_lossy().contains("-images-idx3-ubyte"));
    let pictures = folders.iter().any(|folder| holds_image(folder, DEPTH));
    let mut found: Vec<&str> = Vec::new();
    for (there, what) in [
        (parquet, "Parquet files"),
        (pictures, "folders of images"),
        (idx, "IDX files"),
        (with("tar") > 0, "tar files"),
        (!tables.is_empty(), "tables"),
    ] {
        found.extend(there.then_some(what));
    }
    let mut sketch = match found.first().copied() {
        Some("Parquet files") => parquet_folder(path, wish)?,
        Some("folders of images") => images("image_folder", path, wish)?,
        Some("IDX files") => images("idx", path, wish)?,
        Some("tar files") => images("webdataset", path, wish)?,
        Some(_) => tables_of(path, &tables, wish)?,
        None if files.iter().any(|f| is_image(f)) => {
            return Err(refused(
                path,
                "the images lie side by side, and nothing says which class each has",
                "put the images of each class into a folder named after it, or give a table with a column of files and one of classes",
            ));
        }
        None => {
            let names: Vec<String> = folders.iter().chain(&files).take(8).map(|p| name(p)).collect();
            let got = if names.is_empty() { "nothing".into() } else { names.join(", ") };
            return Err(refused(
                path,
                format!(
                    "expected folders of images, tables (.csv, .tsv, .jsonl, .parquet), .tar or IDX files, got {got}"
                ),
                "give the folder that holds the data itself",
            ));
        }
    };
    if let [first, rest @ ..] = found.as_slice()
        && !rest.is_empty()
    {
        sketch.notes.push(format!(
            "the folder has {first}, which were taken, and {}, which were not",
            rest.join(", ")
        ));
    }
    Ok(sketch)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Visible folders and files, sorted.
fn listed(path: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), DataError> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(path).map_err(DataError::opening(path, "a folder of data"))? {
        all.push(entry.map_err(DataError::opening(path, "a folder of data"))?.path());
    }
    all.retain(|p| !name(p).starts_with('.'));
    all.sort();
    Ok(all.into_iter().partition(|p| p.is_dir()))
}

fn holds_image(folder: &Path, depth: usize) -> bool {
    let Ok((folders, files)) = listed(folder) else { return false };
    files.iter().any(|file| is_image(file))
        || (depth > 1 && folders.iter().any(|f| holds_image(f, depth - 1)))
}

fn parquet_folder(path: &Path, wish: &Wish) -> Result<Sketch, DataError> {
    let config = parsed("parquet", path)?;
    let layout = Layout::new(&config)?;
    let files = layout.places().each_ref().map(|place| {
        place.as_ref().map_or_else(Vec::new, |p| p.files().into_iter().map(Path::to_path_buf).collect())
    });
    table::table("parquet", Format::Parquet, vec![("path", path.into())], &files, wish)
}

/// Tables whose names say their splits, or a single one.
fn tables_of(path: &Path, tables: &[&PathBuf], wish: &Wish) -> Result<Sketch, DataError> {
    let stem = |p: &Path| p.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
    let mut places: Vec<(&'static str, PathBuf)> = Vec::new();
    let mut files = [const { Vec::new() }; 3];
    for (k, (key, words)) in SPLITS.iter().enumerate() {
        let own: Vec<&&PathBuf> = tables.iter().filter(|t| words.contains(&stem(t).as_str())).collect();
        if let [one, other, ..] = own.as_slice() {
            return Err(refused(
                path,
                format!("both {} and {} could be the {key} split", name(one), name(other)),
                "keep one of them, or write a config",
            ));
        }
        if let Some(own) = own.first() {
            places.push((key, own.to_path_buf()));
            files[k] = vec![own.to_path_buf()];
        }
    }
    let single = match tables {
        [only] => Some((*only).clone()),
        _ => None,
    };
    if let Some(only) = single.filter(|_| files[0].is_empty()) {
        return file(&only, wish);
    }
    let names = || tables.iter().map(|t| name(t)).collect::<Vec<_>>().join(", ");
    if files[0].is_empty() {
        return Err(refused(
            path,
            format!("several tables, and none is called train: {}", names()),
            "give the one to learn from: kiln init FILE",
        ));
    }
    let kinds: Vec<Option<(&str, Format)>> = places.iter().map(|(_, p)| table_kind(p)).collect();
    let Some((kind, format)) = kinds.first().copied().flatten() else {
        return Err(refused(path, format!("no tables but {}", names()), "give the file"));
    };
    if kinds.iter().any(|own| own.map(|(kind, _)| kind) != Some(kind)) {
        return Err(refused(
            path,
            format!("tables of several kinds: {}", names()),
            "write all splits in one format",
        ));
    }
    let mut sketch = table::table(kind, format, places.clone(), &files, wish)?;
    let rest: Vec<String> =
        tables.iter().filter(|t| !places.iter().any(|(_, p)| &p == *t)).map(|t| name(t)).collect();
    if !rest.is_empty() {
        sketch.notes.push(format!("left out, for their names say no split: {}", rest.join(", ")));
    }
    Ok(sketch)
}

fn parsed(kind: &str, path: &Path) -> Result<DataConfig, DataError> {
    serde_json::from_value(json!({"kind": kind, "path": path}))
        .map_err(|e| DataError::config("kind", e.to_string(), "report this as a fault"))
}

/// Images with one class each.
fn images(kind: &'static str, path: &Path, wish: &Wish) -> Result<Sketch, DataError> {
    if let Some(task) = wish.task.filter(|task| *task != TaskKind::Classification) {
        let problem = format!("images with one class each, from which {task} cannot be learned");
        return Err(refused(path, problem, "give a table with a column of images and the labels"));
    }
    let config = parsed(kind, path)?;
    let layout = Layout::new(&config)?;
    let splits = layout.places().each_ref().map(Option::is_some);
    let Some(place) = layout.places().iter().flatten().next() else {
        return Err(refused(path, "no images", "give a folder with one folder of images a class"));
    };
    let source = place.open(&config)?;
    let classes = source.classes(TaskKind::Classification)?;
    let labels = source.labels(TaskKind::Classification, &classes)?;
    let mut counts = vec![0_usize; classes.len()];
    labels.iter().filter_map(|label| label.class()).for_each(|class| counts[class] += 1);
    let mut notes = Vec::new();
    let inputs = pictures(&*source, None, &mut notes)?;
    if !splits[0] {
        notes.push("there is no train split; the classes are those of the first split there is".into());
    }
    let (fewest, most) = (counts.iter().min().copied(), counts.iter().max().copied());
    if let (Some(fewest), Some(most)) = (fewest, most)
        && most > 10 * fewest.max(1)
    {
        notes.push(format!("the classes are uneven: the largest has {most} images, the smallest {fewest}"));
    }
    Ok(Sketch {
        kind,
        places: vec![("path", path.into())],
        splits,
        task: TaskKind::Classification,
        inputs,
        label: None,
        samples: source.len(),
        rarest: fewest,
        classes,
        header: true,
        missing: false,
        notes,
    })
}

/// Sizes and colours of some images, evenly over the samples.
pub(super) fn pictures(
    source: &dyn Source,
    column: Option<String>,
    notes: &mut Vec<String>,
) -> Result<SketchInputs, DataError> {
    let n = source.len();
    let step = n.div_ceil(SIZES).max(1);
    let mut bad = 0;
    let mut sizes = Vec::new();
    for i in (0..n).step_by(step) {
        match source.size(i) {
            Ok(Some(size)) => sizes.push(size),
            Ok(None) => {}
            Err(_) => bad += 1,
        }
    }
    let Some(&first) = sizes.first() else {
        return source.size(0).map(|_| ()).and_then(|()| {
            Err(refused(Path::new(&source.place()), "no image could be read", "repair the images"))
        });
    };
    if bad > 0 {
        notes.push(format!(
            "{bad} of {} images that were looked at cannot be read: `data.loader.on_bad_sample = \"skip\"` leaves such out",
            bad + sizes.len()
        ));
    }
    let one_size = sizes.iter().all(|size| *size == first).then_some(first);
    let mut sides: Vec<usize> = sizes.iter().map(|(h, w)| *h.min(w)).collect();
    sides.sort_unstable();
    let side = sides[sides.len() / 2];
    let every = n.div_ceil(DECODED).max(1);
    let decoded: Vec<Raw> = (0..n).step_by(every).filter_map(|i| source.raw(i).ok()).collect();
    let grey =
        !decoded.is_empty() && decoded.iter().all(|raw| matches!(raw, Raw::Image(i) if i.channels <= 2));
    notes.push(match one_size {
        Some((h, w)) => format!("{} images looked at, all {w} wide and {h} high", sizes.len()),
        None => {
            let (low, high) = (sides.first().copied().unwrap_or(0), sides.last().copied().unwrap_or(0));
            format!("{} images looked at, of different sizes: shorter side {low} to {high}, the middle one {side}", sizes.len())
        }
    });
    Ok(SketchInputs::Images { column, one_size, side, grey })
}
