//! The C border of `guide.rs`; `guide_ffi.h` is its other side. As in `ffi.rs`, no panic crosses it.

use crate::ffi::{finish, LsTextString, LsTextView};
use crate::guide::{Guide, GuideCompiler, GuideState, Kind};
use crate::model::TextModel;

#[no_mangle]
pub unsafe extern "C" fn ls_guide_compiler_new(
    model: *const TextModel,
    vocab_size: u32,
    end_tokens: *const i32,
    num_end_tokens: usize,
    compiler: *mut *mut GuideCompiler,
    error: *mut LsTextString,
) -> i32 {
    let make = || {
        let ids: &[i32] = match num_end_tokens {
            0 => &[],
            _ => std::slice::from_raw_parts(end_tokens, num_end_tokens),
        };
        let ids: Vec<u32> = ids.iter().filter_map(|id| u32::try_from(*id).ok()).collect();
        GuideCompiler::new(&(*model).table, vocab_size, &ids)
    };
    finish(make, error, |made| *compiler = Box::into_raw(Box::new(made)))
}

#[no_mangle]
pub unsafe extern "C" fn ls_guide_compiler_free(compiler: *mut GuideCompiler) {
    if !compiler.is_null() {
        drop(Box::from_raw(compiler));
    }
}

#[no_mangle]
pub unsafe extern "C" fn ls_guide_compile(
    compiler: *const GuideCompiler,
    kind: i32,
    text: LsTextView,
    guide: *mut *mut Guide,
    error: *mut LsTextString,
) -> i32 {
    let compile = || (*compiler).compile(Kind::from_number(kind)?, text.text("the guide")?);
    finish(compile, error, |compiled| *guide = Box::into_raw(Box::new(compiled)))
}

#[no_mangle]
pub unsafe extern "C" fn ls_guide_free(guide: *mut Guide) {
    if !guide.is_null() {
        drop(Box::from_raw(guide));
    }
}

#[no_mangle]
pub unsafe extern "C" fn ls_guide_start(
    guide: *const Guide,
    state: *mut *mut GuideState,
    error: *mut LsTextString,
) -> i32 {
    finish(|| Ok((*guide).start()), error, |started| *state = Box::into_raw(Box::new(started)))
}

#[no_mangle]
pub unsafe extern "C" fn ls_guide_state_free(state: *mut GuideState) {
    if !state.is_null() {
        drop(Box::from_raw(state));
    }
}

#[no_mangle]
pub unsafe extern "C" fn ls_guide_state_mask(
    state: *mut GuideState,
    mask: *mut u32,
    num_words: usize,
    error: *mut LsTextString,
) -> i32 {
    let compute = || (*state).compute_mask(std::slice::from_raw_parts_mut(mask, num_words));
    finish(compute, error, |()| ())
}

#[no_mangle]
pub unsafe extern "C" fn ls_guide_state_accept(
    state: *mut GuideState,
    token: u32,
    complete: *mut bool,
    error: *mut LsTextString,
) -> i32 {
    finish(|| (*state).accept(token), error, |is_complete| *complete = is_complete)
}
