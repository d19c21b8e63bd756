//! The gzip format (RFC 1952) around DEFLATE, which every browser takes.

use http::HeaderMap;
use http::header::ACCEPT_ENCODING;
use miniz_oxide::deflate::compress_to_vec;

/// The best compression that does not take much longer for it. The page is compressed once per environment.
const LEVEL: u8 = 8;

/// A header without name and time (section 2.3): DEFLATE, and an unknown operating system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// Compresses `bytes`.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut file = HEADER.to_vec();
    file.extend(compress_to_vec(bytes, LEVEL));
    file.extend(crc32(bytes).to_le_bytes());
    #[expect(clippy::cast_possible_truncation, reason = "the length modulo 2^32, by section 2.3.1")]
    file.extend((bytes.len() as u32).to_le_bytes());
    file
}

/// Returns the checksum of section 8.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// Returns whether the sender of a request takes gzip (RFC 9110, section 12.5.3).
pub(crate) fn is_taken(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut codings = values.flat_map(|value| value.split(','));
    codings.any(|coding| {
        let (name, parameter) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = parameter.trim().strip_prefix("q=").map_or(Ok(1.0), str::parse::<f32>);
        name.trim().eq_ignore_ascii_case("gzip") && weight.is_ok_and(|weight| weight > 0.0)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn another_program_reads_what_is_compressed() {
        for text in ["", "a", &"<p>page</p>\n".repeat(5_000), include_str!("page.html")] {
            let (packed, mut read) = (gzip(text.as_bytes()), String::new());
            GzDecoder::new(&*packed).read_to_string(&mut read).unwrap();
            assert_eq!(read, text);
            assert!(packed.len() < text.len() || text.len() < 100, "{} of {}", packed.len(), text.len());
        }
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926, "the check value of the catalogue of CRC algorithms");
    }

    #[test]
    fn gzip_is_used_for_those_who_ask_for_it() {
        let cases = [
            ("gzip, deflate, br, zstd", true),
            ("br;q=1.0, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("gzip;q=0.0, br", false),
            ("gzip;q=x", false),
            ("br", false),
            ("x-gzip", false),
            ("", false),
        ];
        for (value, expected) in cases {
            let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, value.parse().unwrap())]);
            assert_eq!(is_taken(&headers), expected, "{value}");
        }
        assert!(!is_taken(&HeaderMap::new()));
    }
}
