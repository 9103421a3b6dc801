//! Reads a checkpoint's text files. Every error names the file, and no file is read beyond its limit.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{Code, Result, TextError};

/// tokenizer.json of the largest published vocabularies (256k tokens) is below 40 MB.
const MAX_TOKENIZER_BYTES: u64 = 512 << 20;
const MAX_CONFIG_BYTES: u64 = 64 << 20;

fn read_limited(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return match fs::read_link(path) {
                Ok(target) => Err(cannot_read(
                    path,
                    &format!(
                        "it is a link to {}, which does not exist; download the file again",
                        target.display()
                    ),
                )),
                Err(_) => Ok(None),
            }
        }
        Err(error) => return Err(cannot_read(path, &error.to_string())),
    };
    if !metadata.is_file() {
        return Err(cannot_read(path, "it is not a regular file"));
    }
    if metadata.len() > limit {
        return Err(cannot_read(
            path,
            &format!("its {} bytes exceed the limit of {limit} bytes", metadata.len()),
        ));
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    let file = File::open(path).map_err(|error| cannot_read(path, &error.to_string()))?;
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| cannot_read(path, &error.to_string()))?;
    if bytes.len() as u64 > limit {
        return Err(cannot_read(path, &format!("it exceeds the limit of {limit} bytes")));
    }
    Ok(Some(bytes))
}

fn cannot_read(path: &Path, why: &str) -> TextError {
    TextError::invalid(format!("cannot read {}: {why}", path.display()))
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Value> {
    // Python's json.load accepts a byte order mark nowhere either, so it is an error here as well.
    serde_json::from_slice(bytes).map_err(|error| {
        TextError::invalid(format!(
            "{} is not valid JSON: {error} ({} bytes; is the file complete?)",
            path.display(),
            bytes.len()
        ))
    })
}

/// The bytes of `tokenizer.json`, which must be there.
pub fn read_tokenizer(dir: &Path) -> Result<Vec<u8>> {
    if !dir.is_dir() {
        return Err(TextError::new(
            Code::NotFound,
            format!(
                "{} is not a directory: a Hugging Face checkpoint directory is needed",
                dir.display()
            ),
        ));
    }
    let path = dir.join("tokenizer.json");
    read_limited(&path, MAX_TOKENIZER_BYTES)?.ok_or_else(|| {
        TextError::new(
            Code::NotFound,
            format!(
                "{} is missing: a checkpoint with only tokenizer.model or vocab.json must be saved once more with \
                 AutoTokenizer.from_pretrained(...).save_pretrained(...)",
                path.display()
            ),
        )
    })
}

/// A JSON object file that may be absent.
pub fn read_object(dir: &Path, name: &str) -> Result<Option<Map<String, Value>>> {
    let path = dir.join(name);
    match read_limited(&path, MAX_CONFIG_BYTES)? {
        None => Ok(None),
        Some(bytes) => into_object(&path, parse(&path, &bytes)?).map(Some),
    }
}

/// A UTF-8 text file that may be absent.
pub fn read_text(path: &Path) -> Result<Option<String>> {
    match read_limited(path, MAX_CONFIG_BYTES)? {
        None => Ok(None),
        Some(bytes) => String::from_utf8(bytes).map(Some).map_err(|error| {
            TextError::invalid(format!(
                "{} is not UTF-8: invalid byte at offset {}",
                path.display(),
                error.utf8_error().valid_up_to()
            ))
        }),
    }
}

fn into_object(path: &Path, value: Value) -> Result<Map<String, Value>> {
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(TextError::invalid(format!("{} must hold a JSON object", path.display()))),
    }
}
