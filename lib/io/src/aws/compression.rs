//! Texts in items, packed where they are long: a write is paid for by the KiB, and JSON packs to half and less. The
//! attribute is bytes then, a raw DEFLATE stream (RFC 1951), and text otherwise.

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

/// What one write unit of DynamoDB pays for: a text that fits into it is kept as it is.
pub(crate) const WRITE_UNIT: usize = 1024;
/// The fastest: most of what can be had is had with it.
const LEVEL: i32 = 1;

thread_local! {
    /// Kept, for it has some 200 KB, which cost more to get from the system and give back each time than what is packed.
    static COMPRESSOR: RefCell<CompressorOxide> =
        RefCell::new(CompressorOxide::new(create_comp_flags_from_zip_params(LEVEL, 0, 0)));
}

/// The attribute that keeps a text, as it is if it has up to `room` bytes.
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

/// How many bytes an attribute that [`packed`] gave has in an item.
pub(crate) fn length(packed: &AttributeValue) -> usize {
    match packed {
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        AttributeValue::S(text) => text.len(),
        _ => 0,
    }
}

/// Reads what [`packed`] wrote to attribute `name`.
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
    fn what_is_long_is_packed_so_that_others_can_read_it() {
        let text = format!(r#"{{"entries":[{}]}}"#, vec![r#"{"iban":"CZ65 0800 0000 1920 0014 5399"}"#; 40].join(","));
        let AttributeValue::B(packed) = packed(&text, 700) else { panic!("it is long") };
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
    fn what_is_short_is_kept_as_it_is() {
        for text in ["", "{}", &"x".repeat(700)] {
            assert_eq!(packed(text, 700), s(text));
            assert_eq!(length(&packed(text, 700)), text.len());
        }
        assert!(length(&packed(&"x".repeat(701), 700)) < 100);
    }

    #[test]
    fn what_is_no_text_is_refused() {
        let bomb = compress_to_vec(&vec![b' '; MAX_EVENT_BYTES + 1], 9);
        assert!(bomb.len() < 20_000);
        let latin = compress_to_vec(&[0xe9; 700], 1);
        for (bytes, why) in [(bomb, "more than is ever packed"), (latin, "no UTF-8"), (vec![0xff; 9], "no DEFLATE")] {
            assert!(unpacked(&item(AttributeValue::B(Blob::new(bytes))), "json").is_err(), "{why}");
        }
        assert!(unpacked(&item(AttributeValue::Bool(true)), "json").is_err());
        assert!(unpacked(&Item::new(), "json").is_err());
    }

    proptest! {
        #[test]
        fn any_text_reads_back(text in any::<String>(), times in 1..200_usize, room in 0..1_000_usize) {
            let text = text.repeat(times);
            let item = item(packed(&text, room));
            prop_assert_eq!(item["json"].is_s(), text.len() <= room);
            prop_assert_eq!(unpacked(&item, "json").unwrap(), text);
        }
    }
}
