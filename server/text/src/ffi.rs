//! The C border. No panic crosses it: each call runs under `guard`, which turns one into an INTERNAL error.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::Path;

use crate::chat;
use crate::decode::DecodeStream;
use crate::error::{Code, Result, TextError};
use crate::model::TextModel;

/// Bytes that Rust allocated; the caller gives them back with `ls_text_string_free`.
#[repr(C)]
pub struct LsTextString {
    data: *mut u8,
    size: usize,
    capacity: usize,
}

#[repr(C)]
pub struct LsTextIds {
    data: *mut i32,
    size: usize,
    capacity: usize,
}

/// Borrowed from the caller, or from the model for its lifetime.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct LsTextView {
    data: *const u8,
    size: usize,
}

#[repr(C)]
pub struct LsTextMessage {
    role: LsTextView,
    content: LsTextView,
}

#[repr(C)]
pub struct LsTextChat {
    messages: *const LsTextMessage,
    num_messages: usize,
    variables_json: LsTextView,
    add_generation_prompt: bool,
    now_unix_seconds: i64,
}

pub struct LsTextStream {
    state: DecodeStream,
    /// The latest call's text: a view of it is what the caller gets.
    text: String,
}

impl LsTextView {
    /// SAFETY: `data` must point at `size` readable bytes (it may be null when `size` is 0) for as long as 'a.
    unsafe fn bytes<'a>(self) -> &'a [u8] {
        if self.size == 0 {
            return &[];
        }
        std::slice::from_raw_parts(self.data, self.size)
    }

    pub(crate) unsafe fn text<'a>(self, what: &str) -> Result<&'a str> {
        std::str::from_utf8(self.bytes()).map_err(|error| {
            TextError::invalid(format!(
                "{what} is not valid UTF-8: invalid byte at offset {} of {}",
                error.valid_up_to(),
                self.size
            ))
        })
    }

    fn of(bytes: &[u8]) -> Self {
        LsTextView { data: bytes.as_ptr(), size: bytes.len() }
    }
}

impl LsTextString {
    fn give(text: String) -> Self {
        let mut bytes = std::mem::ManuallyDrop::new(text.into_bytes());
        LsTextString { data: bytes.as_mut_ptr(), size: bytes.len(), capacity: bytes.capacity() }
    }
}

fn panic_text(cause: Box<dyn std::any::Any + Send>) -> String {
    match cause.downcast::<String>() {
        Ok(text) => *text,
        Err(cause) => cause.downcast_ref::<&str>().unwrap_or(&"no message").to_string(),
    }
}

fn guard<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|cause| {
        Err(TextError::new(
            Code::Internal,
            format!("the text library panicked: {}", panic_text(cause)),
        ))
    })
}

/// Runs `work`, hands its value to `store`, and gives the status code; the message goes to `error`.
pub(crate) unsafe fn finish<T>(
    work: impl FnOnce() -> Result<T>,
    error: *mut LsTextString,
    store: impl FnOnce(T),
) -> i32 {
    match guard(work) {
        Ok(value) => {
            store(value);
            0
        }
        Err(failure) => {
            *error = LsTextString::give(failure.message);
            failure.code as i32
        }
    }
}

#[no_mangle]
pub unsafe extern "C" fn ls_text_load(
    dir: LsTextView,
    model: *mut *mut TextModel,
    error: *mut LsTextString,
) -> i32 {
    use std::os::unix::ffi::OsStrExt;
    let path = Path::new(std::ffi::OsStr::from_bytes(dir.bytes()));
    // The crates panic on some malformed files: those are the checkpoint's fault.
    let load = || {
        catch_unwind(|| TextModel::load(path)).unwrap_or_else(|cause| {
            let why = panic_text(cause);
            Err(TextError::invalid(format!(
                "{}/tokenizer.json is malformed: {why}",
                path.display()
            )))
        })
    };
    finish(load, error, |loaded| *model = Box::into_raw(Box::new(loaded)))
}

#[no_mangle]
pub unsafe extern "C" fn ls_text_free(model: *mut TextModel) {
    if !model.is_null() {
        drop(Box::from_raw(model));
    }
}

#[no_mangle]
pub unsafe extern "C" fn ls_text_encode(
    model: *const TextModel,
    text: LsTextView,
    add_special_tokens: bool,
    ids: *mut LsTextIds,
    error: *mut LsTextString,
) -> i32 {
    let encode = || (*model).encode(text.text("the text")?, add_special_tokens);
    finish(encode, error, |encoded| {
        let signed: Vec<i32> = encoded.into_iter().map(|id| id as i32).collect();
        let mut signed = std::mem::ManuallyDrop::new(signed);
        *ids = LsTextIds {
            data: signed.as_mut_ptr(),
            size: signed.len(),
            capacity: signed.capacity(),
        };
    })
}

/// Negative ids are left out like any other id that names no token.
#[no_mangle]
pub unsafe extern "C" fn ls_text_decode(
    model: *const TextModel,
    ids: *const i32,
    num_ids: usize,
    skip_special_tokens: bool,
    text: *mut LsTextString,
    error: *mut LsTextString,
) -> i32 {
    let decode = || {
        let ids = if num_ids == 0 { &[] } else { std::slice::from_raw_parts(ids, num_ids) };
        let ids: Vec<u32> = ids.iter().filter_map(|id| u32::try_from(*id).ok()).collect();
        (*model).decode(&ids, skip_special_tokens)
    };
    finish(decode, error, |decoded| *text = LsTextString::give(decoded))
}

#[no_mangle]
pub unsafe extern "C" fn ls_text_apply_chat_template(
    model: *const TextModel,
    chat: *const LsTextChat,
    prompt: *mut LsTextString,
    error: *mut LsTextString,
) -> i32 {
    let render = || {
        let chat = &*chat;
        let list = if chat.num_messages == 0 {
            &[]
        } else {
            std::slice::from_raw_parts(chat.messages, chat.num_messages)
        };
        let mut messages = Vec::with_capacity(list.len());
        for (index, message) in list.iter().enumerate() {
            messages.push(chat::Message {
                role: message.role.text(&format!("messages[{index}].role"))?,
                content: message.content.text(&format!("messages[{index}].content"))?,
            });
        }
        let request = chat::Request {
            messages,
            add_generation_prompt: chat.add_generation_prompt,
            variables: chat.variables_json.text("template_variables")?,
            now: chat.now_unix_seconds,
        };
        (*model).templates.render(&(*model).special, &request)
    };
    finish(render, error, |rendered| *prompt = LsTextString::give(rendered))
}

#[no_mangle]
pub unsafe extern "C" fn ls_text_has_chat_template(model: *const TextModel) -> bool {
    !(*model).templates.is_empty()
}

#[no_mangle]
pub unsafe extern "C" fn ls_text_num_warnings(model: *const TextModel) -> usize {
    (*model).warnings.len()
}

/// `index` must be below the number of warnings.
#[no_mangle]
pub unsafe extern "C" fn ls_text_warning(model: *const TextModel, index: usize) -> LsTextView {
    LsTextView::of((&(*model).warnings)[index].as_bytes())
}

#[no_mangle]
pub unsafe extern "C" fn ls_text_vocab_size(model: *const TextModel) -> i32 {
    (*model).table.size() as i32
}

/// False: no such token.
#[no_mangle]
pub unsafe extern "C" fn ls_text_token(
    model: *const TextModel,
    id: i32,
    bytes: *mut LsTextView,
    special: *mut bool,
) -> bool {
    let model = &*model;
    let Some(token) = u32::try_from(id).ok().and_then(|id| model.table.get(id)) else {
        return false;
    };
    *bytes = LsTextView::of(&token.bytes);
    *special = token.special;
    true
}

/// -1: no such token.
#[no_mangle]
pub unsafe extern "C" fn ls_text_token_to_id(model: *const TextModel, token: LsTextView) -> i32 {
    guard(|| Ok((*model).token_to_id(token.text("the token")?)))
        .ok()
        .flatten()
        .map_or(-1, |id| id as i32)
}

/// The id of `bos_token`, `eos_token` and so on; -1 where the checkpoint has none.
#[no_mangle]
pub unsafe extern "C" fn ls_text_special_token(model: *const TextModel, name: LsTextView) -> i32 {
    guard(|| Ok((*model).special_token_id(name.text("the name")?)))
        .ok()
        .flatten()
        .map_or(-1, |id| id as i32)
}

#[no_mangle]
pub unsafe extern "C" fn ls_text_stream_new(
    model: *const TextModel,
    skip_special_tokens: bool,
) -> *mut LsTextStream {
    let state = DecodeStream::new(&(*model).plan, skip_special_tokens);
    Box::into_raw(Box::new(LsTextStream { state, text: String::new() }))
}

/// One that goes on from where this one is.
#[no_mangle]
pub unsafe extern "C" fn ls_text_stream_copy(stream: *const LsTextStream) -> *mut LsTextStream {
    let state = (*stream).state.clone();
    Box::into_raw(Box::new(LsTextStream { state, text: String::new() }))
}

#[no_mangle]
pub unsafe extern "C" fn ls_text_stream_free(stream: *mut LsTextStream) {
    if !stream.is_null() {
        drop(Box::from_raw(stream));
    }
}

/// The text that became final with this token. The view holds until the next call on this stream.
#[no_mangle]
pub unsafe extern "C" fn ls_text_stream_append(
    model: *const TextModel,
    stream: *mut LsTextStream,
    id: i32,
) -> LsTextView {
    let stream = &mut *stream;
    stream.text.clear();
    let _ = guard(|| {
        if let Ok(id) = u32::try_from(id) {
            stream.state.append(&*model, id, &mut stream.text);
        }
        Ok(())
    });
    LsTextView::of(stream.text.as_bytes())
}

/// The text still held back: what would come if the answer ended here. The stream stays as it is.
#[no_mangle]
pub unsafe extern "C" fn ls_text_stream_pending(
    model: *const TextModel,
    stream: *mut LsTextStream,
) -> LsTextView {
    let stream = &mut *stream;
    stream.text.clear();
    let mut copy = stream.state.clone();
    let _ = guard(|| copy.finish(&*model, &mut stream.text));
    LsTextView::of(stream.text.as_bytes())
}

/// Ends the answer: the text that was still held back.
#[no_mangle]
pub unsafe extern "C" fn ls_text_stream_flush(
    model: *const TextModel,
    stream: *mut LsTextStream,
) -> LsTextView {
    let stream = &mut *stream;
    stream.text.clear();
    let _ = guard(|| stream.state.finish(&*model, &mut stream.text));
    LsTextView::of(stream.text.as_bytes())
}

#[no_mangle]
pub unsafe extern "C" fn ls_text_string_free(text: LsTextString) {
    if !text.data.is_null() {
        drop(Vec::from_raw_parts(text.data, text.size, text.capacity));
    }
}

#[no_mangle]
pub unsafe extern "C" fn ls_text_ids_free(ids: LsTextIds) {
    if !ids.data.is_null() {
        drop(Vec::from_raw_parts(ids.data, ids.size, ids.capacity));
    }
}
