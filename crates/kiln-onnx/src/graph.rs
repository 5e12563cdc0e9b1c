//! A graph of ONNX under construction: inputs, nodes named after the layer they are of, and the weights they read.
//! Owns naming and the account of which tensors of the state were read; never which layers a net has (`families`).
//! The first fault is kept, and [`Graph::finish`] answers it: families read as the forward pass does.

use std::collections::{BTreeMap, BTreeSet};

use kiln_core::StateDict;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, NodeProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
    type_proto,
};

use crate::OnnxError;

/// The opset that nodes are written in; the newest that ONNX Runtime, tract and converters share.
pub(crate) const OPSET: i64 = 18;

/// A tensor in the graph, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Value(String);

/// A node's attribute.
pub(crate) enum Attr<'a> {
    Int(i64),
    Float(f32),
    Ints(&'a [i64]),
    Text(&'a str),
}

/// One side of an input's or output's shape.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Side {
    Fixed(usize),
    /// Any size; sides of the same name are of the same size.
    Any(&'static str),
}

pub(crate) struct Graph<'a> {
    state: &'a StateDict,
    read: BTreeSet<String>,
    held: BTreeSet<String>,
    /// How many nodes have a name already.
    names: BTreeMap<String, usize>,
    place: String,
    proto: GraphProto,
    fault: Option<OnnxError>,
}

impl<'a> Graph<'a> {
    /// A graph that reads its weights from `state`.
    pub(crate) fn new(name: &str, state: &'a StateDict) -> Self {
        let proto = GraphProto { name: name.into(), ..GraphProto::default() };
        let (read, held, names) = Default::default();
        Self { state, read, held, names, place: String::new(), proto, fault: None }
    }

    /// Names the nodes that follow after a layer.
    pub(crate) fn at(&mut self, place: &str) {
        self.place = place.to_string();
    }

    /// Whether the state has a tensor.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.state.contains_key(name)
    }

    /// How many layers there are whose `weight` the state has: `prefix0`, `prefix1`, ... with `suffix` behind each.
    pub(crate) fn count(&self, prefix: &str, suffix: &str) -> usize {
        (0..).take_while(|i| self.has(&format!("{prefix}{i}{suffix}"))).count()
    }

    /// The shape of a tensor of the state.
    pub(crate) fn shape(&mut self, name: &str) -> Vec<usize> {
        match self.state.get(name) {
            Some(data) => data.shape().to_vec(),
            None => {
                self.absent(name);
                Vec::new()
            }
        }
    }

    /// The first side of a tensor of the state: what a layer writes, rows of an embedding.
    pub(crate) fn first_side(&mut self, name: &str) -> usize {
        self.shape(name).first().copied().unwrap_or(0)
    }

    /// The values of a tensor of the state, which counts as read.
    pub(crate) fn values(&mut self, name: &str) -> Vec<f32> {
        self.read.insert(name.to_string());
        match self.state.get(name) {
            Some(data) => data.iter::<f32>().collect(),
            None => {
                self.absent(name);
                Vec::new()
            }
        }
    }

    fn absent(&mut self, name: &str) {
        let fault = || OnnxError::NoTensor { graph: self.proto.name.clone(), tensor: name.to_string() };
        if self.fault.is_none() {
            self.fault = Some(fault());
        }
    }

    /// A tensor of the state as it is.
    pub(crate) fn weight(&mut self, name: &str) -> Value {
        if !self.held.contains(name) {
            let (shape, values) = (self.shape(name), self.values(name));
            return self.constant(name, &shape, &values);
        }
        Value(name.to_string())
    }

    /// A matrix of the state, `[ROWS, COLUMNS]`, as `[COLUMNS, ROWS]`.
    pub(crate) fn transposed(&mut self, name: &str) -> Value {
        let own = format!("{name}_transposed");
        let ([rows, columns], values) = match self.shape(name)[..] {
            [rows, columns] => ([rows, columns], self.values(name)),
            _ => return self.weight(name), // no matrix: the state is another net's, and the checker will say so
        };
        let turned: Vec<f32> = (0..rows * columns).map(|i| values[(i % rows) * columns + i / rows]).collect();
        self.constant(&own, &[columns, rows], &turned)
    }

    /// Numbers that are part of the graph, under a name of their own.
    pub(crate) fn constant(&mut self, name: &str, shape: &[usize], values: &[f32]) -> Value {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.hold(name.to_string(), DataType::Float, shape, raw)
    }

    /// One number.
    pub(crate) fn number(&mut self, value: f32) -> Value {
        self.constant(&format!("number_{value:e}"), &[], &[value])
    }

    /// A row of integers.
    pub(crate) fn integers(&mut self, values: &[i64]) -> Value {
        let words: Vec<String> = values.iter().map(ToString::to_string).collect();
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.hold(format!("integers_{}", words.join("_")), DataType::Int64, &[values.len()], raw)
    }

    /// One integer.
    pub(crate) fn integer(&mut self, value: i64) -> Value {
        self.hold(format!("integer_{value}"), DataType::Int64, &[], value.to_le_bytes().to_vec())
    }

    fn hold(&mut self, name: String, data_type: DataType, shape: &[usize], raw_data: Vec<u8>) -> Value {
        if self.held.insert(name.clone()) {
            self.proto.initializer.push(tensor(&name, data_type, shape, raw_data));
        }
        Value(name)
    }

    /// A node with one output and no attributes.
    pub(crate) fn op(&mut self, kind: &'static str, inputs: &[&Value]) -> Value {
        self.op_with(kind, inputs, &[])
    }

    /// A node with one output.
    pub(crate) fn op_with(
        &mut self,
        kind: &'static str,
        inputs: &[&Value],
        attributes: &[(&str, Attr<'_>)],
    ) -> Value {
        let stem = format!("{}/{kind}", self.place);
        let count = self.names.entry(stem.clone()).or_default();
        let name = if *count == 0 { stem } else { format!("{stem}_{count}") };
        *count += 1;
        let output = format!("{name}_output");
        self.proto.node.push(NodeProto {
            input: inputs.iter().map(|value| value.0.clone()).collect(),
            output: vec![output.clone()],
            name,
            op_type: kind.into(),
            attribute: attributes.iter().map(|(name, value)| attribute(name, value)).collect(),
            ..NodeProto::default()
        });
        Value(output)
    }

    /// An input of float32, or of int64 where `ids`.
    pub(crate) fn input(&mut self, name: &str, ids: bool, shape: &[Side]) -> Value {
        let data_type = if ids { DataType::Int64 } else { DataType::Float };
        self.proto.input.push(info(name, data_type, shape));
        Value(name.to_string())
    }

    /// Gives a value out under a name.
    pub(crate) fn output(&mut self, name: &str, value: &Value, shape: &[Side]) {
        if let Some(node) = self.proto.node.iter_mut().find(|node| node.output.contains(&value.0)) {
            node.output = vec![name.to_string()];
        }
        for node in &mut self.proto.node {
            node.input.iter_mut().filter(|input| **input == value.0).for_each(|i| *i = name.to_string());
        }
        self.proto.output.push(info(name, DataType::Float, shape));
    }

    /// The graph.
    ///
    /// # Errors
    /// A layer that the state lacks, or a tensor of the state that no node reads.
    pub(crate) fn finish(self) -> Result<GraphProto, OnnxError> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        match self.state.keys().find(|name| !self.read.contains(*name)) {
            Some(tensor) => Err(OnnxError::NotDrawn { graph: self.proto.name, tensor: tensor.clone() }),
            None => Ok(self.proto),
        }
    }
}

/// A tensor of the file, with its values in little-endian bytes.
pub(crate) fn tensor(name: &str, data_type: DataType, shape: &[usize], raw_data: Vec<u8>) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: shape.iter().map(|n| *n as i64).collect(),
        data_type: data_type as i32,
        raw_data,
        ..TensorProto::default()
    }
}

/// An attribute of the file.
pub(crate) fn attribute(name: &str, value: &Attr<'_>) -> AttributeProto {
    let named = |kind: AttributeType| AttributeProto {
        name: name.into(),
        r#type: kind as i32,
        ..AttributeProto::default()
    };
    match value {
        Attr::Int(i) => AttributeProto { i: *i, ..named(AttributeType::Int) },
        Attr::Float(f) => AttributeProto { f: *f, ..named(AttributeType::Float) },
        Attr::Ints(ints) => AttributeProto { ints: ints.to_vec(), ..named(AttributeType::Ints) },
        Attr::Text(text) => AttributeProto { s: text.as_bytes().to_vec(), ..named(AttributeType::String) },
    }
}

fn info(name: &str, data_type: DataType, shape: &[Side]) -> ValueInfoProto {
    let dim = shape.iter().map(|side| {
        let value = match side {
            Side::Fixed(n) => dimension::Value::DimValue(*n as i64),
            Side::Any(name) => dimension::Value::DimParam((*name).into()),
        };
        Dimension { value: Some(value), ..Dimension::default() }
    });
    let shape = TensorShapeProto { dim: dim.collect() };
    let tensor = type_proto::Tensor { elem_type: data_type as i32, shape: Some(shape) };
    let value = Some(type_proto::Value::TensorType(tensor));
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto { value, ..TypeProto::default() }),
        ..ValueInfoProto::default()
    }
}
