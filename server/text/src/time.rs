//! `strftime_now` of chat templates: local time through the C library, as Python does it.

use std::ffi::CString;

use minijinja::{Error, ErrorKind};

const MAX_FORMAT_BYTES: usize = 1024;
const MAX_TEXT_BYTES: usize = 64 << 10;

pub fn strftime(format: &str, seconds_since_1970: i64) -> Result<String, Error> {
    let invalid =
        |why: &str| Error::new(ErrorKind::InvalidOperation, format!("strftime_now: {why}"));
    if format.len() > MAX_FORMAT_BYTES {
        return Err(invalid(&format!("the format exceeds {MAX_FORMAT_BYTES} bytes")));
    }
    let format = without_zones(format);
    if format.is_empty() {
        return Ok(String::new());
    }
    // A zero length means either that the buffer is too small or that the text is empty (`%p` in some locales): the
    // space makes it never empty.
    let padded =
        CString::new(format!("{format} ")).map_err(|_| invalid("the format holds a NUL byte"))?;
    let time: libc::time_t = seconds_since_1970;
    let mut buffer = vec![0u8; MAX_TEXT_BYTES];
    // SAFETY: `parts` is plain data for which zeros are valid, both calls get pointers to live objects and the
    // buffer's true size.
    let length = unsafe {
        let mut parts: libc::tm = std::mem::zeroed();
        if libc::localtime_r(&time, &mut parts).is_null() {
            return Err(invalid("the time is out of range"));
        }
        libc::strftime(buffer.as_mut_ptr().cast(), buffer.len(), padded.as_ptr(), &parts)
    };
    if length == 0 {
        return Err(invalid("the text is too long"));
    }
    buffer.truncate(length - 1);
    String::from_utf8(buffer).map_err(|_| invalid("the text is not UTF-8"))
}

/// Python's now() without an argument knows no time zone, and writes nothing for one.
fn without_zones(format: &str) -> String {
    let mut result = String::with_capacity(format.len());
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        let (before, directive) = rest.split_at(at);
        result.push_str(before);
        let zone = ["%z", "%Z", "%:z"].iter().find(|zone| directive.starts_with(**zone));
        // With the character after it: of `%%` the second begins nothing.
        let length = directive.chars().take(2).map(char::len_utf8).sum();
        if zone.is_none() {
            result.push_str(&directive[..length]);
        }
        rest = &directive[zone.map_or(length, |zone| zone.len())..];
    }
    result + rest
}
