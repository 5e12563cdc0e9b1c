//! Parquet: every column optional, lists of numbers as lists, what was asked in the file's metadata under `kiln.job`.

use std::fs::File;
use std::sync::Arc;

use kiln_core::files::FileError;
use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical, ZstdLevel};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{PrimitiveTypeBuilder, Type};
use serde_json::Value;

use super::{BatchError, Format, Source};
use crate::batch::columns::{Column, Kind, text};

/// Rows of a row group.
const GROUP: usize = 65_536;

pub(super) const FORMAT: Format = Format { endings: &["parquet"], most_columns: None, write };

fn write(source: &Source<'_>) -> Result<(), BatchError> {
    let columns = source.columns()?;
    let list = columns.list();
    let fault = |e: ParquetError| source.fault(e);
    let fields = list.iter().map(field).collect::<Result<_, _>>().map_err(fault)?;
    let schema = Type::group_type_builder("predictions").with_fields(fields).build().map_err(fault)?;
    let job = serde_json::to_string(source.identity).map_err(|e| source.fault(e))?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_key_value_metadata(Some(vec![KeyValue::new("kiln.job".to_string(), job)]))
        .build();
    let file = File::create(source.path).map_err(FileError::at(source.path, "create"))?;
    let mut out = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties)).map_err(fault)?;
    let mut rows: Vec<Vec<Value>> = Vec::new();
    for line in source.parts.answers() {
        rows.push(columns.cells(&line?));
        if rows.len() == GROUP {
            group(&mut out, &list, &std::mem::take(&mut rows)).map_err(fault)?;
        }
    }
    if !rows.is_empty() {
        group(&mut out, &list, &rows).map_err(fault)?;
    }
    let file = out.into_inner().map_err(fault)?;
    file.sync_all().map_err(FileError::at(source.named, "sync"))?;
    Ok(())
}

fn field(column: &Column) -> Result<Arc<Type>, ParquetError> {
    fn leaf(name: &str, physical: Physical) -> PrimitiveTypeBuilder<'_> {
        Type::primitive_type_builder(name, physical).with_repetition(Repetition::OPTIONAL)
    }
    let built = match column.kind {
        Kind::Bool => leaf(&column.name, Physical::BOOLEAN).build(),
        Kind::Integer => leaf(&column.name, Physical::INT64).build(),
        Kind::Real => leaf(&column.name, Physical::DOUBLE).build(),
        Kind::Text => {
            leaf(&column.name, Physical::BYTE_ARRAY).with_logical_type(Some(LogicalType::String)).build()
        }
        Kind::Numbers => {
            // The three levels that the format's own page on lists asks for.
            let element = leaf("element", Physical::DOUBLE).build()?;
            let list = Type::group_type_builder("list")
                .with_repetition(Repetition::REPEATED)
                .with_fields(vec![Arc::new(element)])
                .build()?;
            Type::group_type_builder(&column.name)
                .with_repetition(Repetition::OPTIONAL)
                .with_logical_type(Some(LogicalType::List))
                .with_fields(vec![Arc::new(list)])
                .build()
        }
    };
    built.map(Arc::new)
}

/// Writes one row group, column by column.
fn group(
    out: &mut SerializedFileWriter<File>,
    columns: &[Column],
    rows: &[Vec<Value>],
) -> Result<(), ParquetError> {
    let mut group = out.next_row_group()?;
    for (at, column) in columns.iter().enumerate() {
        let cells = rows.iter().map(|row| &row[at]);
        match column.kind {
            Kind::Bool => leaf::<BoolType>(&mut group, cells.map(Value::as_bool))?,
            Kind::Integer => leaf::<Int64Type>(&mut group, cells.map(Value::as_i64))?,
            Kind::Real => leaf::<DoubleType>(&mut group, cells.map(Value::as_f64))?,
            Kind::Text => {
                let bytes = |cell| text(cell).map(|text| ByteArray::from(text.into_bytes()));
                leaf::<ByteArrayType>(&mut group, cells.map(bytes))?;
            }
            Kind::Numbers => numbers(&mut group, cells)?,
        }
    }
    group.close()?;
    Ok(())
}

/// A column of single values: definition level 1 where there is one.
fn leaf<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, File>,
    cells: impl Iterator<Item = Option<T::T>>,
) -> Result<(), ParquetError> {
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    for cell in cells {
        levels.push(i16::from(cell.is_some()));
        values.extend(cell);
    }
    put::<T>(group, &values, &levels, None)
}

/// A column of lists: definition level 0 for a missing list, 1 for an empty one, 3 for a number; repetition level 0 for
/// the first of a list, 1 for those behind it.
fn numbers<'a>(
    group: &mut SerializedRowGroupWriter<'_, File>,
    cells: impl Iterator<Item = &'a Value>,
) -> Result<(), ParquetError> {
    let (mut values, mut definitions, mut repetitions) = (Vec::new(), Vec::new(), Vec::new());
    for cell in cells {
        let list = cell.as_array();
        match list.filter(|list| !list.is_empty()) {
            None => {
                definitions.push(i16::from(list.is_some()));
                repetitions.push(0);
            }
            Some(list) => {
                for (k, number) in list.iter().enumerate() {
                    let number = number.as_f64();
                    definitions.push(if number.is_some() { 3 } else { 2 });
                    repetitions.push(i16::from(k > 0));
                    values.extend(number);
                }
            }
        }
    }
    put::<DoubleType>(group, &values, &definitions, Some(&repetitions))
}

fn put<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, File>,
    values: &[T::T],
    definitions: &[i16],
    repetitions: Option<&[i16]>,
) -> Result<(), ParquetError> {
    if let Some(mut column) = group.next_column()? {
        column.typed::<T>().write_batch(values, Some(definitions), repetitions)?;
        column.close()?;
    }
    Ok(())
}
