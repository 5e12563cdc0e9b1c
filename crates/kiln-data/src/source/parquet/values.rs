//! The cells of one column of one row group, typed as the file has them.
//! Owns the way from definition and repetition levels to rows (Dremel, as the Parquet format has it: flat columns, and
//! lists of flat values); never looks at a whole file. Hands values to rows and pictures.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use parquet::basic::{ConvertedType, LogicalType};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType};
use parquet::errors::{ParquetError, Result as Parquet};
use parquet::file::reader::{FileReader, RowGroupReader};
use parquet::schema::types::ColumnDescriptor;

use super::file::ParquetFile;
use crate::error::DataError;

/// A cell.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Single(f32),
    Double(f64),
    /// A string, or bytes.
    Bytes(ByteArray),
    List(Vec<Value>),
}

impl Value {
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Value::Bool(is) => Some(f64::from(u8::from(*is))),
            Value::Int(i) => Some(*i as f64),
            Value::Single(x) => Some(f64::from(*x)),
            Value::Double(x) => Some(*x),
            Value::Null | Value::Bytes(_) | Value::List(_) => None,
        }
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(is) => write!(f, "{is}"),
            Value::Int(i) => write!(f, "{i}"),
            // With the digits that tell it from its neighbours: a label 0.1 is not called 0.10000000149.
            Value::Single(x) => write!(f, "{x:?}"),
            Value::Double(x) => write!(f, "{x:?}"),
            Value::Bytes(bytes) => match std::str::from_utf8(bytes.data()) {
                Ok(text) => write!(f, "\"{text}\""),
                Err(_) => write!(f, "{} bytes", bytes.len()),
            },
            Value::List(list) => write!(f, "a list of {}", list.len()),
        }
    }
}

/// The values of a column that are not null.
#[derive(Debug)]
pub(super) enum Values {
    Bool(Vec<bool>),
    Int(Vec<i64>),
    Single(Vec<f32>),
    Double(Vec<f64>),
    Bytes(Vec<ByteArray>),
}

/// Which cells have values.
#[derive(Debug)]
enum Levels {
    /// Every one.
    All,
    /// Those of the level `full`.
    Some { levels: Vec<i16>, full: i16 },
    /// Lists: one begins at each repetition level of 0, and has an element where the definition level is at least
    /// `filled`, which is null below `full`.
    Lists { definition: Vec<i16>, repetition: Vec<i16>, filled: i16, full: i16 },
}

/// The cells of one column, handed out in order.
#[derive(Debug)]
pub(super) struct Cells {
    values: Values,
    levels: Levels,
    /// The next value, and the next level.
    value: usize,
    level: usize,
}

impl Cells {
    fn value(&mut self) -> Value {
        let at = self.value;
        self.value += 1;
        let there = match &mut self.values {
            Values::Bool(all) => all.get(at).copied().map(Value::Bool),
            Values::Int(all) => all.get(at).copied().map(Value::Int),
            Values::Single(all) => all.get(at).copied().map(Value::Single),
            Values::Double(all) => all.get(at).copied().map(Value::Double),
            Values::Bytes(all) => all.get_mut(at).map(|own| Value::Bytes(std::mem::take(own))),
        };
        there.unwrap_or(Value::Null)
    }

    /// The cell of the next row; null after the last.
    pub(super) fn next(&mut self) -> Value {
        let at = self.level;
        match &self.levels {
            Levels::All => self.value(),
            Levels::Some { levels, full } => {
                let there = levels.get(at) == Some(full);
                self.level += 1;
                if there { self.value() } else { Value::Null }
            }
            Levels::Lists { .. } => self.list(),
        }
    }

    /// Of all numbers, or of the lengths of strings and bytes.
    pub(super) fn sum(&self) -> f64 {
        match &self.values {
            Values::Bool(all) => all.iter().filter(|is| **is).count() as f64,
            Values::Int(all) => all.iter().map(|v| *v as f64).sum(),
            Values::Single(all) => all.iter().map(|v| f64::from(*v)).sum(),
            Values::Double(all) => all.iter().sum(),
            Values::Bytes(all) => all.iter().map(|bytes| bytes.len() as f64).sum(),
        }
    }

    fn list(&mut self) -> Value {
        let mut list = Vec::new();
        let from = self.level;
        while let Levels::Lists { definition, repetition, filled, full } = &self.levels {
            let (Some(&level), Some(&again)) = (definition.get(self.level), repetition.get(self.level))
            else {
                break;
            };
            if again == 0 && self.level > from {
                break;
            }
            let (there, element) = (level == *full, level >= *filled);
            self.level += 1;
            if element {
                list.push(if there { self.value() } else { Value::Null });
            }
        }
        Value::List(list)
    }
}

/// Cells below which columns are read one after the other: threads cost more than they bring.
const FEW: usize = 100_000;

/// Rows of a flat column that are decoded at a time: their levels stay in the nearest cache.
const STEP: usize = 8192;
/// Values for which memory is asked ahead of reading them.
const MOST_AHEAD: usize = 1 << 20;

/// The cells of some columns of a row group, and how many rows it has. Columns of many cells are read by as many threads
/// as the machine offers.
pub(super) fn read(
    file: &ParquetFile,
    group: usize,
    leaves: &[usize],
) -> Result<(Vec<Cells>, usize), DataError> {
    let broken = |e: ParquetError| file.broken(format!("row group {group}: {e}"));
    let reader = file.reader().get_row_group(group).map_err(broken)?;
    let rows = reader.metadata().num_rows() as usize;
    let threads = match rows.saturating_mul(leaves.len()) < FEW {
        true => 1,
        false => std::thread::available_parallelism().map_or(1, usize::from).min(leaves.len()),
    };
    if threads == 1 {
        let columns = leaves.iter().map(|&leaf| column(&*reader, leaf, rows)).collect::<Parquet<Vec<_>>>();
        return Ok((columns.map_err(broken)?, rows));
    }
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(leaves.len())));
    let work = || {
        loop {
            let k = next.fetch_add(1, Ordering::Relaxed);
            let Some(&leaf) = leaves.get(k) else { break };
            let read = file.reader().get_row_group(group).and_then(|reader| column(&*reader, leaf, rows));
            done.lock().unwrap_or_else(PoisonError::into_inner).push((k, read));
        }
    };
    std::thread::scope(|scope| {
        (1..threads).for_each(|_| drop(scope.spawn(work)));
        work();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(k, _)| *k);
    let columns = done.into_iter().map(|(_, read)| read).collect::<Parquet<Vec<_>>>();
    Ok((columns.map_err(broken)?, rows))
}

fn column(group: &dyn RowGroupReader, leaf: usize, rows: usize) -> Parquet<Cells> {
    let schema = group.metadata().schema_descr().column(leaf);
    let column = &*schema;
    let unsigned = matches!(column.logical_type_ref(), Some(LogicalType::Integer(i)) if !i.is_signed)
        || matches!(
            column.converted_type(),
            ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 | ConvertedType::UINT_64
        );
    let wide = |v: i32| if unsigned { i64::from(v as u32) } else { i64::from(v) };
    match group.get_column_reader(leaf)? {
        ColumnReader::BoolColumnReader(reader) => cells(reader, column, rows, Values::Bool),
        ColumnReader::Int32ColumnReader(reader) => {
            cells(reader, column, rows, |v| Values::Int(v.into_iter().map(wide).collect()))
        }
        ColumnReader::Int64ColumnReader(reader) => cells(reader, column, rows, Values::Int),
        ColumnReader::FloatColumnReader(reader) => cells(reader, column, rows, Values::Single),
        ColumnReader::DoubleColumnReader(reader) => cells(reader, column, rows, Values::Double),
        ColumnReader::ByteArrayColumnReader(reader) => cells(reader, column, rows, Values::Bytes),
        ColumnReader::FixedLenByteArrayColumnReader(_) | ColumnReader::Int96ColumnReader(_) => {
            let name = column.path().string();
            let kind = column.physical_type();
            Err(ParquetError::NYI(format!(
                "column \"{name}\" holds {kind}, expected strings, bytes, whole numbers, floats or booleans"
            )))
        }
    }
}

fn cells<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    column: &ColumnDescriptor,
    rows: usize,
    typed: impl FnOnce(Vec<T::T>) -> Values,
) -> Parquet<Cells> {
    let (full, max_rep) = (column.max_def_level(), column.max_rep_level());
    let (mut defs, mut reps) = (Vec::new(), Vec::new());
    // A damaged footer may speak of more rows than there are.
    let mut values = Vec::with_capacity(rows.min(MOST_AHEAD));
    // Of a flat column the levels of one step are forgotten while none of them is null.
    let (mut done, mut nulls) = (0, false);
    while done < rows {
        let (own_defs, own_reps) = ((full > 0).then_some(&mut defs), (max_rep > 0).then_some(&mut reps));
        let step = if max_rep > 0 { rows - done } else { STEP.min(rows - done) };
        let (records, there, _) = reader.read_records(step, own_defs, own_reps, &mut values)?;
        if records == 0 {
            let name = column.path().string();
            let message = format!("column \"{name}\" ends after {done} of {rows} rows");
            return Err(ParquetError::EOF(message));
        }
        if full > 0 && max_rep == 0 && !nulls {
            nulls = there < records;
            match nulls {
                true => drop(defs.splice(0..0, std::iter::repeat_n(full, done))),
                false => defs.clear(),
            }
        }
        done += records;
    }
    let levels = match (full, max_rep) {
        (0, _) => Levels::All,
        (_, 0) if !nulls => Levels::All,
        (_, 0) => Levels::Some { levels: defs, full },
        _ => {
            // From this level on a list has an element, which may itself be null.
            let filled = full - i16::from(column.self_type().is_optional());
            Levels::Lists { definition: defs, repetition: reps, filled, full }
        }
    };
    Ok(Cells { values: typed(values), levels, value: 0, level: 0 })
}
