//! The cells of one column of one row group.
//! Owns the way from definition and repetition levels to rows (Dremel, as the Parquet format has it: flat columns, and
//! lists of flat values); never looks at a whole file. Hands values to rows and pictures.

use parquet::basic::{ConvertedType, LogicalType};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::DataType;
use parquet::errors::Result as Parquet;
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
    Float(f64),
    /// A string, or bytes.
    Bytes(Vec<u8>),
    List(Vec<Value>),
}

impl Value {
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Value::Bool(is) => Some(f64::from(u8::from(*is))),
            Value::Int(i) => Some(*i as f64),
            Value::Float(f) => Some(*f),
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
            Value::Float(x) => write!(f, "{x:?}"),
            Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => write!(f, "\"{text}\""),
                Err(_) => write!(f, "{} bytes", bytes.len()),
            },
            Value::List(list) => write!(f, "a list of {}", list.len()),
        }
    }
}

/// The cells of some columns of a row group, and how many rows it has.
pub(super) fn read(
    file: &ParquetFile,
    group: usize,
    leaves: &[usize],
) -> Result<(Vec<Vec<Value>>, usize), DataError> {
    let read = || -> Parquet<_> {
        let reader = file.reader().get_row_group(group)?;
        let rows = reader.metadata().num_rows() as usize;
        let columns = leaves.iter().map(|&leaf| column(&*reader, leaf, rows));
        Ok((columns.collect::<Parquet<Vec<_>>>()?, rows))
    };
    read().map_err(|e| file.broken(format!("row group {group}: {e}")))
}

fn column(group: &dyn RowGroupReader, leaf: usize, rows: usize) -> Parquet<Vec<Value>> {
    let schema = group.metadata().schema_descr().column(leaf);
    let column = &*schema;
    let unsigned = matches!(column.logical_type_ref(), Some(LogicalType::Integer(i)) if !i.is_signed)
        || matches!(
            column.converted_type(),
            ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 | ConvertedType::UINT_64
        );
    let int = move |v: i32| Value::Int(if unsigned { i64::from(v as u32) } else { i64::from(v) });
    match group.get_column_reader(leaf)? {
        ColumnReader::BoolColumnReader(reader) => cells(reader, column, rows, Value::Bool),
        ColumnReader::Int32ColumnReader(reader) => cells(reader, column, rows, int),
        ColumnReader::Int64ColumnReader(reader) => cells(reader, column, rows, Value::Int),
        ColumnReader::FloatColumnReader(reader) => cells(reader, column, rows, |v| Value::Float(shortest(v))),
        ColumnReader::DoubleColumnReader(reader) => cells(reader, column, rows, Value::Float),
        ColumnReader::ByteArrayColumnReader(reader) => {
            cells(reader, column, rows, |v| Value::Bytes(v.data().to_vec()))
        }
        ColumnReader::FixedLenByteArrayColumnReader(_) | ColumnReader::Int96ColumnReader(_) => {
            let name = column.path().string();
            let kind = column.physical_type();
            Err(parquet::errors::ParquetError::NYI(format!(
                "column \"{name}\" holds {kind}, expected strings, bytes, whole numbers, floats or booleans"
            )))
        }
    }
}

/// The 64-bit number with the digits of a 32-bit one, so that a label 0.1 is not called 0.10000000149.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

fn cells<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    column: &ColumnDescriptor,
    rows: usize,
    wrap: impl Fn(T::T) -> Value,
) -> Parquet<Vec<Value>> {
    let (max_def, max_rep) = (column.max_def_level(), column.max_rep_level());
    let (mut defs, mut reps, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let mut done = 0;
    while done < rows {
        let (defs, reps) = ((max_def > 0).then_some(&mut defs), (max_rep > 0).then_some(&mut reps));
        let (records, _, _) = reader.read_records(rows - done, defs, reps, &mut values)?;
        if records == 0 {
            let name = column.path().string();
            let message = format!("column \"{name}\" ends after {done} of {rows} rows");
            return Err(parquet::errors::ParquetError::EOF(message));
        }
        done += records;
    }
    let mut values = values.into_iter().map(wrap);
    if max_def == 0 {
        return Ok(values.collect());
    }
    let mut cell = |def: i16| if def == max_def { values.next().unwrap_or(Value::Null) } else { Value::Null };
    if max_rep == 0 {
        return Ok(defs.into_iter().map(cell).collect());
    }
    // From this level on a list has an element, which may itself be null.
    let filled = max_def - i16::from(column.self_type().is_optional());
    let mut lists: Vec<Value> = Vec::with_capacity(rows);
    for (def, rep) in defs.into_iter().zip(reps) {
        if rep == 0 {
            lists.push(Value::List(Vec::new()));
        }
        if let (Some(Value::List(list)), true) = (lists.last_mut(), def >= filled) {
            list.push(cell(def));
        }
    }
    Ok(lists)
}
