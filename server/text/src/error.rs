//! One error type for the whole crate; its kinds are the `LsTextCode` values of `text_ffi.h`.

use std::fmt;

#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    InvalidArgument = 1,
    NotFound = 2,
    FailedPrecondition = 3,
    Internal = 4,
}

#[derive(Clone, Debug)]
pub struct TextError {
    pub code: Code,
    pub message: String,
}

impl TextError {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        TextError { code, message: message.into() }
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        TextError::new(Code::InvalidArgument, message)
    }

    pub fn internal(message: impl Into<String>) -> Self {
        TextError::new(Code::Internal, message)
    }
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for TextError {}

pub type Result<T> = std::result::Result<T, TextError>;
