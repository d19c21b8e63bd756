//! Compression of long texts in items. A write is paid for by the KiB, and JSON shrinks to half or less. A compressed
//! attribute is bytes, a raw DEFLATE stream (RFC 1951); any other is text.

use std::borrow::Cow;
use std::cell::RefCell;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use miniz_oxide::deflate::core::{
    CompressorOxide, TDEFLFlush, TDEFLStatus, compress_to_output, create_comp_flags_from_zip_params,
};
use miniz_oxide::inflate::decompress_to_vec_with_limit;
use signpost_core::event::MAX_EVENT_BYTES;

use crate::aws::{Item, ItemError, s, unreadable};

/// The size that one write unit of DynamoDB pays for. A text that fits into it is stored as it is.
pub(crate) const WRITE_UNIT: usize = 1024;
/// The fastest level: it achieves most of the compression.
const LEVEL: i32 = 1;

thread_local! {
    /// Kept between calls. It has some 200 KB, and allocating that each time costs more than compressing.
    static COMPRESSOR: RefCell<CompressorOxide> =
        RefCell::new(CompressorOxide::new(create_comp_flags_from_zip_params(LEVEL, 0, 0)));
}

/// Returns the attribute for a text: the text itself if it has at most `room` bytes, otherwise compressed.
pub(crate) fn packed(text: &str, room: usize) -> AttributeValue {
    if text.len() <= room {
        return s(text);
    }
    let mut packed = Vec::with_capacity(text.len() / 2);
    let status = COMPRESSOR.with_borrow_mut(|compressor| {
        compressor.reset();
        let (status, _) = compress_to_output(compressor, text.as_bytes(), TDEFLFlush::Finish, |bytes| {
            packed.extend_from_slice(bytes);
            true
        });
        status
    });
    if status == TDEFLStatus::Done { AttributeValue::B(Blob::new(packed)) } else { s(text) }
}

/// Splits an attribute from [`packed`] into parts of at most `part` bytes. One part is left as it is, because an item has room
/// for it.
pub(crate) fn parts(packed: AttributeValue, part: usize) -> (AttributeValue, Vec<AttributeValue>) {
    match packed {
        AttributeValue::B(bytes) if bytes.as_ref().len() > part => {
            let mut parts = bytes.as_ref().chunks(part).map(|part| AttributeValue::B(Blob::new(part)));
            let first = parts.next().unwrap_or(AttributeValue::Null(true));
            (first, parts.collect())
        }
        whole => (whole, Vec::new()),
    }
}

/// Joins what [`parts`] split. Returns `None` if a part is not bytes.
pub(crate) fn joined(parts: &[&AttributeValue]) -> Option<AttributeValue> {
    let parts: Option<Vec<_>> = parts.iter().map(|part| part.as_b().ok().map(AsRef::as_ref)).collect();
    Some(AttributeValue::B(Blob::new(parts?.concat())))
}

/// Returns how many bytes an attribute from [`packed`] has in an item.
pub(crate) fn length(packed: &AttributeValue) -> usize {
    match packed {
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        AttributeValue::S(text) => text.len(),
        _ => 0,
    }
}

/// Reads attribute `name`, which [`packed`] made.
pub(crate) fn unpacked<'a>(item: &'a Item, name: &'static str) -> Result<Cow<'a, str>, ItemError> {
    match item.get(name) {
        Some(AttributeValue::S(text)) => Ok(text.into()),
        Some(AttributeValue::B(packed)) => {
            let bytes = decompress_to_vec_with_limit(packed.as_ref(), MAX_EVENT_BYTES).map_err(|_| unreadable(name))?;
            String::from_utf8(bytes).map(Cow::Owned).map_err(|_| unreadable(name))
        }
        _ => Err(unreadable(name)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::process::{Command, Stdio};

    use miniz_oxide::deflate::compress_to_vec;
    use proptest::prelude::*;

    use super::*;

    fn item(value: AttributeValue) -> Item {
        Item::from([("json".into(), value)])
    }

    #[test]
    fn a_long_text_is_compressed_so_that_other_programs_can_read_it() {
        let text = format!(r#"{{"entries":[{}]}}"#, vec![r#"{"iban":"CZ65 0800 0000 1920 0014 5399"}"#; 40].join(","));
        let AttributeValue::B(packed) = packed(&text, 700) else { panic!("the text is long") };
        assert!(packed.as_ref().len() * 4 < text.len());
        assert_eq!(length(&AttributeValue::B(packed.clone())), packed.as_ref().len());
        // -15: a raw stream, as Python's zlib has it.
        let program = "import sys, zlib; sys.stdout.buffer.write(zlib.decompress(sys.stdin.buffer.read(), -15))";
        let mut python = Command::new("python3");
        let python = python.args(["-c", program]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut python = python.spawn().unwrap();
        python.stdin.take().unwrap().write_all(packed.as_ref()).unwrap();
        let mut read = String::new();
        python.stdout.take().unwrap().read_to_string(&mut read).unwrap();
        assert!(python.wait().unwrap().success());
        assert_eq!(read, text);
    }

    #[test]
    fn a_short_text_is_stored_as_it_is() {
        for text in ["", "{}", &"x".repeat(700)] {
            assert_eq!(packed(text, 700), s(text));
            assert_eq!(length(&packed(text, 700)), text.len());
        }
        assert!(length(&packed(&"x".repeat(701), 700)) < 100);
    }

    #[test]
    fn an_attribute_that_is_not_text_is_refused() {
        let bomb = compress_to_vec(&vec![b' '; MAX_EVENT_BYTES + 1], 9);
        assert!(bomb.len() < 20_000);
        let latin = compress_to_vec(&[0xe9; 700], 1);
        for (bytes, why) in [(bomb, "larger than any event"), (latin, "no UTF-8"), (vec![0xff; 9], "no DEFLATE")] {
            assert!(unpacked(&item(AttributeValue::B(Blob::new(bytes))), "json").is_err(), "{why}");
        }
        assert!(unpacked(&item(AttributeValue::Bool(true)), "json").is_err());
        assert!(unpacked(&Item::new(), "json").is_err());
    }

    proptest! {
        #[test]
        fn parts_are_small_and_join_to_the_whole(bytes in proptest::collection::vec(any::<u8>(), 0..300), part in 1..100_usize) {
            let whole = AttributeValue::B(Blob::new(bytes));
            let (first, rest) = parts(whole.clone(), part);
            let all: Vec<_> = std::iter::once(&first).chain(&rest).collect();
            prop_assert!(all.iter().all(|one| length(one) <= part));
            prop_assert_eq!(joined(&all), Some(whole));
        }

        #[test]
        fn any_text_reads_back(text in any::<String>(), times in 1..200_usize, room in 0..1_000_usize) {
            let text = text.repeat(times);
            let item = item(packed(&text, room));
            prop_assert_eq!(item["json"].is_s(), text.len() <= room);
            prop_assert_eq!(unpacked(&item, "json").unwrap(), text);
        }
    }
}
