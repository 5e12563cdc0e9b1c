//! What a record says: the few messages of TensorBoard's protocol buffers that kiln writes, encoded by hand.
//! Owns field numbers and wire format; opens no file. Sources: `event.proto`, `summary.proto`, `histogram.proto` and
//! `tensor.proto` of TensorBoard's `compat/proto`.

use kiln_data::look::Picture;

use super::histogram::Histogram;

/// Wire type of variable-length integers.
const VARINT: u64 = 0;
/// Wire type of eight bytes.
const FIXED64: u64 = 1;
/// Wire type of bytes with their length before them.
const BYTES: u64 = 2;
/// Wire type of four bytes.
const FIXED32: u64 = 5;
/// `DataType.DT_STRING`
const DT_STRING: u64 = 7;
/// `SessionLog.SessionStatus.START`
const START: u64 = 1;

/// An encoded message in the making.
#[derive(Debug, Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn key(&mut self, field: u64, wire: u64) {
        self.varint(field << 3 | wire);
    }

    fn integer(mut self, field: u64, value: u64) -> Self {
        self.key(field, VARINT);
        self.varint(value);
        self
    }

    fn double(mut self, field: u64, value: f64) -> Self {
        self.key(field, FIXED64);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn float(mut self, field: u64, value: f32) -> Self {
        self.key(field, FIXED32);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.key(field, BYTES);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
        self
    }

    fn message(self, field: u64, message: &Message) -> Self {
        self.bytes(field, &message.0)
    }

    fn doubles(self, field: u64, values: &[f64]) -> Self {
        let packed: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.bytes(field, &packed)
    }
}

/// What an `Event` carries.
pub(super) enum What<'a> {
    /// The first of every file.
    Version,
    /// Steps from here on are written again: a reader forgets what it has of them.
    Restart,
    /// Numbers by tag.
    Scalars(&'a [(String, f32)]),
    /// A text by its tag, as Markdown.
    Text(&'a str, &'a str),
    /// Distributions by tag.
    Histograms(&'a [(String, Histogram)]),
    /// Pictures by tag.
    Images(&'a [(String, Picture)]),
}

/// `Event`, encoded; `wall_time` in seconds since 1970.
pub(super) fn event(wall_time: f64, step: u64, what: &What<'_>) -> Vec<u8> {
    let event = Message::default().double(1, wall_time).integer(2, step);
    match what {
        What::Version => event.bytes(3, b"brain.Event:2"),
        What::Restart => event.message(7, &Message::default().integer(1, START)),
        What::Scalars(scalars) => {
            let value = |(tag, x): &(String, f32)| Message::default().bytes(1, tag.as_bytes()).float(2, *x);
            event.message(5, &summary(scalars.iter().map(value)))
        }
        What::Text(tag, text) => event.message(5, &summary(std::iter::once(words(tag, text)))),
        What::Images(all) => {
            let value = |(tag, picture): &(String, Picture)| {
                Message::default().bytes(1, tag.as_bytes()).message(4, &image(picture))
            };
            event.message(5, &summary(all.iter().map(value)))
        }
        What::Histograms(all) => {
            let value = |(tag, h): &(String, Histogram)| {
                Message::default().bytes(1, tag.as_bytes()).message(5, &histogram(h))
            };
            event.message(5, &summary(all.iter().map(value)))
        }
    }
    .0
}

fn summary(values: impl Iterator<Item = Message>) -> Message {
    values.fold(Message::default(), |summary, value| summary.message(1, &value))
}

/// A text, as TensorBoard's text dashboard finds it: a tensor of one string.
fn words(tag: &str, text: &str) -> Message {
    let plugin = Message::default().bytes(1, b"text");
    let shape = Message::default().message(2, &Message::default().integer(1, 1));
    let tensor = Message::default().integer(1, DT_STRING).message(2, &shape).bytes(8, text.as_bytes());
    let metadata = Message::default().message(1, &plugin);
    Message::default().bytes(1, tag.as_bytes()).message(8, &tensor).message(9, &metadata)
}

fn image(picture: &Picture) -> Message {
    Message::default()
        .integer(1, picture.height.into())
        .integer(2, picture.width.into())
        .integer(3, picture.channels.into())
        .bytes(4, &picture.png)
}

fn histogram(h: &Histogram) -> Message {
    Message::default()
        .double(1, h.min)
        .double(2, h.max)
        .double(3, h.count)
        .double(4, h.sum)
        .double(5, h.sum_of_squares)
        .doubles(6, &h.limits)
        .doubles(7, &h.counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scalar_has_the_bytes_that_protobuf_gives_it() {
        // `Event(wall_time=1.5, step=300, summary=Summary(value=[Summary.Value(tag="a", simple_value=0.5)]))`, serialised
        // by tensorboard 2.21's classes.
        let expected = [
            0x09, 0, 0, 0, 0, 0, 0, 0xF8, 0x3F, 0x10, 0xAC, 0x02, 0x2A, 0x0A, 0x0A, 0x08, 0x0A, 0x01, b'a',
            0x15, 0, 0, 0, 0x3F,
        ];
        assert_eq!(event(1.5, 300, &What::Scalars(&[("a".into(), 0.5)])), expected);
    }
}
